package dashboard

import (
	"bytes"
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

func TestLean(t *testing.T) {
	const css, js = "/* a\n b */\na { b: c;\n  d: e } /* f */\n\n", "// a\n(() => {\n    // b\n  const c = '//d'; // e\n})();"
	if got := string(lean([]byte(css))); got != "a { b: c;\nd: e } \n" {
		t.Errorf("%q", got)
	}
	if got := string(lean([]byte(js))); got != "(() => {\nconst c = '//d'; // e\n})();" {
		t.Errorf("%q", got)
	}
	if bytes.ContainsRune(assets["app.js"].body, '`') {
		t.Error("the script may have a text of several lines, in which lean must not change anything")
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
			p.Succeeded, p.Failed, p.Retried, p.Submitted = int64(i*37), int64(i%2), int64(i%3), 100
			p.Run = af.Distribution{Count: int64(i), P50: time.Duration(i) * time.Second, P99: 9 * time.Second,
				Max: 9 * time.Second}
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
		"runs":       string(runs("Runs", points, time.Minute).SVG),
		"flow":       string(flow("Flow", points, time.Minute).SVG),
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

// A long string is folded, and a log line has its parts marked, without losing what it escapes.
func TestLongTextsAreFolded(t *testing.T) {
	text := strings.Repeat("<b>", 300)
	html, cut := jsonTree([]byte(`"` + text + `"`))
	if cut || strings.Count(string(html), "<details") != 1 || !strings.Contains(string(html), "900 bytes") ||
		strings.Contains(string(html), "<b>") {
		t.Errorf("%v %s", cut, html)
	}
	v := &viewer{}
	for line, want := range map[string]string{
		`time=2026-03-12T13:40:36.512Z level=WARN msg="it is <slow>" took=1.2s`: `<span class="l-warn"><span class="l-t" ` +
			`title="2026-03-12T13:40:36.512Z">13:40:36.512</span> <span class="l-l">WARN</span> it is &lt;slow&gt;` +
			`<span class="l-a"> took=1.2s</span>` + "\n</span>",
		`time=2026-03-12T13:40:36Z level=INFO msg="a \"b\""`: `<span class="l"><span class="l-t" ` +
			`title="2026-03-12T13:40:36Z">13:40:36</span> <span class="l-l">INFO</span> &#34;a \&#34;b\&#34;&#34;` +
			`<span class="l-a"></span>` + "\n</span>",
		"<i>level=ERROR": `<span class="l-error">&lt;i&gt;level=ERROR` + "\n</span>",
	} {
		if got := string(v.LogLine(line)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", line, got, want)
		}
	}
}

// The top of an axis is near the highest value, and both it and its half are short.
func TestAxes(t *testing.T) {
	for n, want := range map[int64]string{1: "1 ", 2: "2 1", 3: "4 2", 7: "8 4", 11: "12 6", 90: "100 50", 207: "300 150",
		520: "600 300", 33_000: "40,000 20,000"} {
		if top := nice(n); number(top)+" "+halfOf(top) != want {
			t.Errorf("%d: %s %s, want %s", n, number(top), halfOf(top), want)
		}
	}
	for d, want := range map[time.Duration]string{0: "1 ms 500 µs", 57 * time.Millisecond: "60 ms 30 ms",
		900 * time.Millisecond: "1 s 500 ms", 5500 * time.Millisecond: "6 s 3 s", 61 * time.Second: "2 min 1 min",
		12 * time.Hour: "12 h 6 h", 20 * time.Hour: "24 h 12 h", 60 * time.Hour: "4 days 2 days"} {
		if top := niceSpan(d); axisSpan(top)+" "+axisSpan(top/2) != want {
			t.Errorf("%v: %s %s, want %s", d, axisSpan(top), axisSpan(top/2), want)
		}
	}
}
