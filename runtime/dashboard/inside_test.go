package dashboard

import (
	"context"
	"encoding/json"
	"flag"
	"iter"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

var update = flag.Bool("update", false, "write the golden files")

// What a browser loads stays small.
func TestSizes(t *testing.T) {
	all := 0
	for name, f := range assets {
		all += len(f.body)
		if strings.HasSuffix(name, ".js") && len(f.body) > 20_000 {
			t.Errorf("%s has %d bytes", name, len(f.body))
		}
		body := strings.ReplaceAll(string(f.body), "http://www.w3.org/2000/svg", "")
		if strings.Contains(body, "http://") || strings.Contains(body, "https://") {
			t.Errorf("%s has an address of another site", name)
		}
	}
	if all > 60_000 {
		t.Errorf("the assets have %d bytes", all)
	}
}

// Every badge has an icon and a color, and every color of a chart exists.
func TestBadges(t *testing.T) {
	icons, err := files.ReadFile("pages/icons.html")
	if err != nil {
		t.Fatal(err)
	}
	css := string(assets["style.css"].body)
	for kind := range badges {
		if !strings.Contains(string(icons), `id="i-`+kind+`"`) || !strings.Contains(css, ".s-"+kind) {
			t.Errorf("badge %s has no icon or no color", kind)
		}
	}
	for _, s := range statuses {
		if !badges[string(s)] || !strings.Contains(css, ".f-"+string(s)) {
			t.Errorf("status %s has no badge or no color", s)
		}
	}
	for _, r := range admin.Rules() {
		if h := headings[r]; r != admin.RuleEnded && (h[1] == "" || !badges[h[0]]) {
			t.Errorf("rule %s has no heading", r)
		}
	}
}

func TestJSONTree(t *testing.T) {
	tag := regexp.MustCompile(`<[^>]*>`)
	for name, tt := range map[string]struct {
		in, want string
		cut      bool
	}{
		"scalar":    {`12345678901234567890.000`, "12345678901234567890.000", false},
		"string":    {`"<b>&\u202e\u0007"`, `&lt;b&gt;&amp;\u202e\a`, false},
		"null":      {`null`, "null", false},
		"empty":     {`{"a":{},"b":[]}`, "{2}a: {}b: []", false},
		"order":     {`{"b":1,"a":[true,false]}`, "{2}b: 1a: [2]0: true1: false", false},
		"duplicate": {`{"a":1,"a":2}`, "{2}a: 1a: 2", false},
		"broken":    {`{"a":`, "Not JSON:{&#34;a&#34;:", false},
		"two":       {`1 2`, "Not JSON:1 2", false},
		"nothing":   {``, "Not JSON:", false},
	} {
		t.Run(name, func(t *testing.T) {
			html, cut := jsonTree([]byte(tt.in))
			if got := tag.ReplaceAllString(string(html), ""); got != tt.want || cut != tt.cut {
				t.Errorf("got %q, %v, want %q", got, cut, tt.want)
			}
		})
	}
}

// A tree of a large or deep value is bounded, is reported as cut, and has all its end tags.
func TestJSONTreeIsBounded(t *testing.T) {
	many, _ := json.Marshal(make([]int, 1_000_000))
	for name, in := range map[string]string{
		"many": string(many), "long": `"` + strings.Repeat("x", 4<<20) + `"`,
		"deep":      strings.Repeat(`{"a":[`, 1_000_000) + strings.Repeat(`]}`, 1_000_000),
		"deep_more": `[` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `,1]`,
		"wide":      `[` + strings.Repeat(`{"a":{"b":{"c":1}}},`, 100_000) + `1]`,
	} {
		html, cut := jsonTree([]byte(in))
		if !cut || len(html) > 600_000 {
			t.Errorf("%s: cut %v, %d bytes", name, cut, len(html))
		}
		for _, element := range []string{"div", "ul", "li", "details", "summary"} {
			if o, c := strings.Count(string(html), "<"+element), strings.Count(string(html), "</"+element+">"); o != c {
				t.Errorf("%s: %d of %d <%s> are closed", name, c, o, element)
			}
		}
	}
}

func FuzzJSONTree(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x",null,{"b":true}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		html, _ := jsonTree(in)
		plain := regexp.MustCompile(`</?(?:div|ul|li|details|summary|span|p|pre)(?: class="[a-z -]+")?(?: open)?>`).
			ReplaceAllString(string(html), "")
		if strings.ContainsAny(plain, "<>") {
			t.Errorf("%q becomes %q", in, html)
		}
	})
}

// The charts are as they were. Look at a change in a browser before you accept it: go test -update.
func TestCharts(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var points []af.HistoryPoint
	for i := range 6 {
		p := af.HistoryPoint{Start: begin.Add(time.Duration(i) * time.Minute)}
		if i != 3 {
			p.Succeeded, p.Failed, p.Retried = int64(i*37), int64(i%2), int64(i%3)
			p.Wait = af.Distribution{Count: int64(i + 1), P50: time.Duration(i) * time.Millisecond,
				P99: time.Duration(i) * 90 * time.Millisecond}
		}
		points = append(points, p)
	}
	task := af.Task{Status: af.StatusRetrying, Created: begin, RunAt: begin.Add(time.Hour), Attempts: []af.Attempt{
		{Attempt: 1, Outcome: af.AttemptLost, Started: begin.Add(time.Second), Ended: begin.Add(10 * time.Minute)},
		{Attempt: 2, Outcome: af.AttemptFailed, Started: begin.Add(20 * time.Minute), Ended: begin.Add(20*time.Minute + 1)},
	}}
	for name, got := range map[string]string{
		"throughput": string(throughput("Tasks", points, time.Minute).SVG),
		"nothing":    string(throughput("Tasks", points[:1], time.Hour).SVG),
		"waits":      string(waits("Waits", points, time.Minute).SVG),
		"strip":      string(strip(&task, begin.Add(30*time.Minute))),
	} {
		got = strings.ReplaceAll(got, "><", ">\n<") + "\n"
		file := "testdata/" + name + ".svg"
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s differs from %s: %v\n%s", name, file, err, got)
		}
	}
}

func TestTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-90 * time.Second: "1 min ago", 500 * time.Millisecond: "now", 3 * time.Hour: "in 3 h",
		-72 * time.Hour:         "3 days ago",
		-999 * time.Millisecond: "now",
	} {
		if got := relative(d); got != want {
			t.Errorf("relative(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", 20 * time.Microsecond: "20 µs", 1500 * time.Millisecond: "1.50 s",
		61 * time.Second: "1 min 01 s", 25 * time.Hour: "25 h 00 min", 50 * time.Hour: "2 days 2 h", -1: "0 s",
	} {
		if got := took(d); got != want {
			t.Errorf("took(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}

// counting counts reads, which wait until they may continue.
type counting struct {
	admin.API
	reads   atomic.Int32
	began   chan struct{}
	release chan struct{}
}

func (c *counting) Queues(context.Context) ([]af.QueueInfo, error) {
	n := c.reads.Add(1)
	c.began <- struct{}{}
	<-c.release
	return []af.QueueInfo{{Workers: int(n)}}, nil
}

// A hundred viewers read the store once. What is read after a change is not from before it.
func TestCache(t *testing.T) {
	api := &counting{began: make(chan struct{}, 9), release: make(chan struct{})}
	c := &cache{API: api, answers: newAnswers(), pace: newPace()}
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if q, err := c.Queues(t.Context()); err != nil || q[0].Workers != 1 {
				t.Errorf("%v, %v", q, err)
			}
		})
	}
	<-api.began
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Queues(gone); err == nil {
		t.Error("a request that has ended waits")
	}
	api.release <- struct{}{}
	group.Wait()
	if _, err := c.Queues(t.Context()); err != nil || api.reads.Load() != 1 {
		t.Errorf("%d reads, %v", api.reads.Load(), err)
	}
	c.expire()
	close(api.release)
	if q, err := c.Queues(t.Context()); err != nil || q[0].Workers != 2 {
		t.Errorf("%v, %v", q, err)
	}
}

// still is an API that never has a tick.
type still struct{ admin.API }

func (still) Watch(ctx context.Context, _ admin.WatchQuery) iter.Seq2[admin.Tick, error] {
	return func(func(admin.Tick, error) bool) { <-ctx.Done() }
}

// Streams, and the tasks that they watch, are bounded, and what has ended is free again.
func TestStreamsAreBounded(t *testing.T) {
	h := newHub(still{}, func() {})
	many := make([]string, 3*maxTasks)
	for i := range many {
		many[i] = strconv.Itoa(i / 2) // each twice
	}
	_, end, err := h.subscribe(many...)
	if err != nil || len(h.topics) != maxTasks+1 {
		t.Errorf("%d watches, %v", len(h.topics), err)
	}
	end()
	var ends []func()
	for i := 0; ; i++ {
		_, end, err := h.subscribe(strconv.Itoa(i))
		if err != nil {
			if af.CodeOf(err) != af.ErrResourceExhausted {
				t.Error(err)
			}
			break
		}
		if ends = append(ends, end); len(ends) > maxStreams {
			t.Fatal("not bounded")
		}
	}
	for _, end := range ends {
		end()
	}
	if h.streams != 0 || len(h.topics) != 0 {
		t.Errorf("%d streams and %d watches are left", h.streams, len(h.topics))
	}
}
