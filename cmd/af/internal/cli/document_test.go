package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/cli"
	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

var updateDocument = flag.Bool("update-document", false, "write the output of the commands into docs/af.md")

const document = "../../../../docs/af.md"

// TestDocument runs the commands in the consoles of docs/af.md on a system, and compares what they print, except for
// times, durations, and what differs between machines.
func TestDocument(t *testing.T) {
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(shopSystem(t))
	code, commands := 0, 0
	fresh := regexp.MustCompile("(?ms)^```console\n.*?^```$").ReplaceAllStringFunc(string(raw), func(block string) string {
		var b strings.Builder
		b.WriteString("```console\n")
		for _, part := range strings.Split(block, "\n$ ")[1:] {
			line, shown, _ := strings.Cut(strings.TrimSuffix(part, "\n```"), "\n")
			got := ""
			switch {
			case line == "echo $?":
				got, code = strconv.Itoa(code), 0
			case code != 0:
				t.Errorf("before %q: exit code %d", line, code)
				code = 0
			}
			if args, ok := strings.CutPrefix(line, "af "); ok {
				commands++
				got, code = runLine(t, words(t, args))
			}
			if normal(shown) == normal(got) {
				got = shown // times differ
			} else if !*updateDocument {
				t.Errorf("%s prints\n%s\nthe document has\n%s", line, got, shown)
			}
			b.WriteString("$ " + line + "\n")
			if got != "" {
				b.WriteString(got + "\n")
			}
		}
		return b.String() + "```"
	})
	if commands < 10 {
		t.Errorf("only %d commands", commands)
	}
	if *updateDocument {
		if err := os.WriteFile(documentPath, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range cli.Command().Commands() {
		if cmd.Runnable() && !strings.Contains(fresh, "`af "+cmd.Name()) && !strings.Contains(fresh, "$ af "+cmd.Name()) {
			t.Errorf("docs/af.md lacks af %s", cmd.Name())
		}
	}
	testJSON(t, fresh)
}

// documentPath is absolute, since the test changes the working directory.
var documentPath, _ = filepath.Abs(document)

// testJSON runs the commands of the table of JSON objects, and compares the members at the top.
func testJSON(t *testing.T, doc string) {
	rows := regexp.MustCompile("(?m)^\\| `af ([^`]+)` \\|[^|]*\\| ((?:`[a-z_]+`(?:, )?)+) \\|$").FindAllStringSubmatch(doc, -1)
	if len(rows) < 8 {
		t.Errorf("only %d commands with JSON", len(rows))
	}
	for _, row := range rows {
		r := run(t, nil, append([]string{"-o", "json"}, words(t, row[1])...)...)
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(r.out), &object); err != nil {
			t.Errorf("af %s: %+v: %v", row[1], r, err)
			continue
		}
		known := strings.Split(strings.ReplaceAll(row[2], "`", ""), ", ")
		for name := range object {
			if !slices.Contains(known, name) {
				t.Errorf("af %s: the member %s is not documented", row[1], name)
			}
		}
	}
}

// runLine runs a command and returns what it prints to a terminal, without the last newline.
func runLine(t *testing.T, args []string) (printed string, code int) {
	t.Helper()
	var out bytes.Buffer
	env := map[string]string{"USER": "ann"}
	code = cli.Run(t.Context(), args, cli.Environment{
		In: strings.NewReader(""), Out: text.Printer{Writer: &out}, Err: text.Printer{Writer: &out},
		Getenv: func(name string) string { return env[name] }, Now: time.Now,
	})
	return strings.TrimSuffix(out.String(), "\n"), code
}

// words splits a line as a shell does, with single quotes.
func words(t *testing.T, line string) (all []string) {
	t.Helper()
	parts := strings.Split(line, "'")
	if len(parts)%2 == 0 {
		t.Fatalf("an open quote in %s", line)
	}
	word, begun := "", false
	for i, part := range parts {
		if i%2 == 1 {
			word, begun = word+part, true
			continue
		}
		for j, field := range strings.Split(part, " ") {
			if j > 0 {
				if begun || word != "" {
					all = append(all, word)
				}
				word, begun = "", false
			}
			word += field
		}
	}
	if begun || word != "" {
		all = append(all, word)
	}
	return all
}

// normal returns a text without what differs between runs and machines.
func normal(s string) string {
	for _, r := range []struct{ pattern, by string }{
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?[+-]\d\d:\d\d|Z)?`, "TIME"},
		{`\b\d\d:\d\d(:\d\d)?\b`, "TIME"},
		{`\b[0-9A-Z]{26}\b`, "ID"},
		{`\b\d+(\.\d+)?(ns|µs|ms|s|m|h|d)(\d+(s|m))?\b`, "D"},
		{`\d+(\.\d+)? ?([KMGT]iB|B|%)`, "SIZE"},
		{`\(devel\)|v\d+\.\d+\.\d+[-.\w+]*|go1\.[\d.]+`, "VERSION"},
		{`\d+\.\d+`, "N"},
		{`\s+`, " "},
	} {
		s = regexp.MustCompile(r.pattern).ReplaceAllString(s, r.by)
	}
	return strings.TrimSpace(s)
}

// shopSystem runs a system until the test ends, and returns a directory whose config.yaml names it.
func shopSystem(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	testkit.Write(t, filepath.Join(dir, "config.yaml"), "embedded: {path: shop.db}\nlogger: {path: ''}\n")
	log := slog.New(slog.NewTextHandler(io.Discard, nil)) // the lines of tasks are kept
	app, err := af.Open(t.Context(), embedded.File(filepath.Join(dir, "shop.db")), af.Logger(log), af.IP("192.0.2.7"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a handler runs until it is stopped
		defer cancel()
		_ = app.Shutdown(ctx)
	})
	for queue, run := range shopWorkers {
		w := af.Worker{Name: queue, Type: strings.ToUpper(queue[:1]) + queue[1:], Max: 2, Weight: 1, Retries: 3,
			Backoff: time.Hour}
		af.RegisterVoidWorker(app, w, &run)
	}
	price := af.Method[order, cents]{Service: "shop", Name: "Price", Timeout: time.Second,
		Signature: "(item string, count int) (cents int)"}
	af.RegisterService(app, af.Service{Name: "shop", Type: "Shop", Concurrency: 4}, &shop{},
		af.Bind(&price, func(_ context.Context, _ *shop, o order) (cents, error) { return cents{250 * o.Count}, nil }))
	af.HandleJobFunc(app, "nightly", "30 3 * * *", func(context.Context) error { return nil })
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		queue, id string
		status    af.Status
	}{
		{"mail", "2JB7ESTFX4XJHNQKYDRXW3AAA1", af.StatusSuccess}, {"charge", "2JB7ESTFX4XJHNQKYDRXW3AAA2", af.StatusFailed},
		{"notify", "2JB7ESTFX4XJHNQKYDRXW3AAA3", af.StatusRetrying}, {"resize", "2JB7ESTFX4XJHNQKYDRXW3AAA4", af.StatusRunning},
		{"import", "2JB7ESTFX4XJHNQKYDRXW3AAA5", af.StatusPending},
	} {
		queue := af.NewVoidQueue[order](app, af.Worker{Name: s.queue, Type: s.queue})
		if _, err := queue.Submit(t.Context(), order{"tea", 3}, af.TaskID(s.id)); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, s.id+" is "+string(s.status), func() bool {
			task, err := app.GetTask(t.Context(), s.id)
			return err == nil && task.Status == s.status && (s.queue != "resize" || task.Progress != nil)
		})
	}
	mail := af.NewVoidQueue[order](app, af.Worker{Name: "mail", Type: "Mail"})
	sent, err := mail.Subtasks(t.Context(), "2JB7ESTFX4XJHNQKYDRXW3AAA5", []order{{"tea", 1}, {"tea", 2}}, af.RunNow(),
		af.Batch("receipts"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range sent {
		if _, err := app.WaitTask(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.PauseQueue(t.Context(), "mail", af.By("ann"), af.Reason("the server moves")); err != nil {
		t.Fatal(err)
	}
	if err := app.ResumeQueue(t.Context(), "mail", af.By("ann")); err != nil {
		t.Fatal(err)
	}
	return dir
}

type (
	shop  struct{}
	order struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
	}
	cents struct {
		Cents int `json:"cents"`
	}
	shopWorker func(context.Context, order) error
)

func (w *shopWorker) Run(ctx context.Context, o order) error { return (*w)(ctx, o) }

// shopWorkers are the workers by their queues. The queue import has none.
var shopWorkers = map[string]shopWorker{
	"mail": func(context.Context, order) error { return nil },
	"charge": func(ctx context.Context, o order) error {
		af.LoggerFrom(ctx).Info("charging", "item", o.Item)
		return af.Permanent(af.NewError(af.ErrFailedPrecondition, "the card has expired"))
	},
	"notify": func(context.Context, order) error { return af.NewError(af.ErrUnavailable, "the push service is down") },
	"resize": func(ctx context.Context, _ order) error {
		if err := af.TaskFrom(ctx).Progress(ctx, map[string]int{"done": 3, "of": 8}); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	},
}
