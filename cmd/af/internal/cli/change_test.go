package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A trial is a system in memory without workers, on which commands run.
type trial struct {
	t   *testing.T
	app *af.App
	api admin.API

	in       string    // the standard input
	stdin    io.Reader // instead of in, unless it is nil
	terminal bool
	ctx      context.Context
	step     time.Duration // by which each look at the clock advances it
	now      time.Time
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	return &trial{t: t, app: app, api: admin.New(app), ctx: t.Context(), now: time.Now()}
}

// submit submits n tasks to a queue, with the ids queue-0 and so on.
func (tr *trial) submit(queue string, n int, opts ...af.SubmitOption) {
	tr.t.Helper()
	q := af.NewVoidQueue[int](tr.app, af.Worker{Name: queue, Weight: 1})
	for i := range n {
		id := fmt.Sprintf("%s-%d", queue, i)
		if _, err := q.Submit(tr.t.Context(), i, append([]af.SubmitOption{af.TaskID(id)}, opts...)...); err != nil {
			tr.t.Fatal(err)
		}
	}
}

// ran is the result of a command.
type ran struct {
	code     int
	out, err string
}

func (tr *trial) run(args ...string) ran {
	tr.t.Helper()
	var out, stderr bytes.Buffer
	stdin := tr.stdin
	if stdin == nil {
		stdin = strings.NewReader(tr.in)
	}
	code := Run(tr.ctx, args, Environment{
		In: stdin, Out: text.Printer{Writer: &out}, Err: text.Printer{Writer: &stderr, Terminal: tr.terminal},
		Prompt: tr.terminal,
		Getenv: func(name string) string { return map[string]string{"USER": "ann"}[name] },
		Now:    func() time.Time { tr.now = tr.now.Add(tr.step); return tr.now },
		system: tr.api,
	})
	return ran{code, out.String(), stderr.String()}
}

// wants checks a result: the exit code, and texts that out and err contain, or "" if they must be empty.
func (r ran) wants(t *testing.T, code int, out, stderr string) {
	t.Helper()
	fits := func(got, want string) bool {
		return want == "" && got == "" || want != "" && strings.Contains(got, want)
	}
	if r.code != code || !fits(r.out, out) || !fits(r.err, stderr) {
		t.Errorf("got %d\n%s--\n%s\nwant %d, %q, %q", r.code, r.out, r.err, code, out, stderr)
	}
}

// count returns the number of tasks with a status.
func (tr *trial) count(s af.Status) int {
	tr.t.Helper()
	page, err := tr.app.Tasks(tr.t.Context(), af.TaskQuery{Statuses: []af.Status{s}, Limit: 1})
	if err != nil {
		tr.t.Fatal(err)
	}
	return page.Total
}

// A broken is an API whose changes fail as told.
type broken struct {
	admin.API
	one  func(id string) error
	many func(page int) error // before the page is changed
	page int
}

func (b *broken) Stop(ctx context.Context, id string, a admin.Action) error {
	if err := b.one(id); err != nil {
		return err
	}
	return b.API.Stop(ctx, id, a)
}

func (b *broken) StopTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	if !a.DryRun {
		b.page++
		if err := b.many(b.page); err != nil {
			return admin.BulkResult{}, err
		}
	}
	return b.API.StopTasks(ctx, q, a)
}

func (b *broken) RunNow(ctx context.Context, id string, a admin.Action) error {
	if err := b.one(id); err != nil {
		return err
	}
	return b.API.RunNow(ctx, id, a)
}

// Changes by a filter show what they would change and ask.
func TestConfirm(t *testing.T) {
	for answer, code := range map[string]int{
		"y\n": exitDone, "Yes\n": exitDone, "\n": exitProblem, "no\n": exitProblem, "": exitProblem,
	} {
		t.Run(strings.TrimSpace(answer), func(t *testing.T) {
			tr := newTrial(t)
			tr.submit("mail", 7)
			tr.terminal, tr.in = true, answer
			r := tr.run("stop", "-where", "queue:mail")
			want := "7 tasks stopped\n"
			if code != exitDone {
				want = ""
			}
			r.wants(t, code, want, "7 tasks would be stopped. Matching tasks:\n")
			r.wants(t, code, want, "Stop 7 tasks? [y/N] ")
			stopped := map[bool]int{true: 7}[code == exitDone]
			if got := tr.count(af.StatusStopped); got != stopped || strings.Count(r.err, "mail-") != maxSample {
				t.Errorf("%d tasks are stopped\n%s", got, r.err)
			}
		})
	}
}

// Tasks that are submitted after the question are not changed.
func TestConfirmedTasksOnly(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 3)
	tr.terminal, tr.stdin = true, readerFunc(func(p []byte) (int, error) {
		q := af.NewVoidQueue[int](tr.app, af.Worker{Name: "mail", Weight: 1})
		_, err := q.Submit(t.Context(), 1, af.TaskID("late"))
		return copy(p, "y\n"), err
	})
	tr.run("stop", "-where", "queue:mail").wants(t, exitDone, "3 tasks stopped\n", "Stop 3 tasks?")
	if late, err := tr.app.GetTask(t.Context(), "late"); err != nil || late.Status.Final() {
		t.Errorf("%+v, %v", late, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A question ends when the command is interrupted.
func TestInterruptedQuestion(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 3)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan struct{})
	defer close(end)
	tr.ctx, tr.terminal = ctx, true
	tr.stdin = readerFunc(func([]byte) (int, error) { cancel(); <-end; return 0, io.EOF })
	tr.run("stop", "-where", "queue:mail").wants(t, exitInterrupted, "", "nothing was changed")
	if n := tr.count(af.StatusStopped); n != 0 {
		t.Errorf("%d tasks are stopped", n)
	}
}

// Without a terminal, changes by a filter need -yes, and nothing is read or changed.
func TestNoTerminal(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 1)
	tr.in = "y\n"
	tr.run("stop", "-where", "queue:mail").wants(t, exitUsage, "", "add -yes to stop all tasks that match")
	if n := tr.count(af.StatusStopped); n != 0 {
		t.Errorf("%d tasks are stopped", n)
	}
}

// An interrupted change tells how to continue, and that continues where it ended.
func TestInterruptedChange(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 250)
	ctx, cancel := context.WithCancel(t.Context())
	tr.ctx = ctx
	real := tr.api
	tr.api = &broken{API: real, many: func(page int) error {
		if page == 2 {
			cancel()
		}
		return nil
	}}
	r := tr.run("stop", "-where", "queue:mail since:2h", "-yes", "-reason", "it's wrong")
	r.wants(t, exitInterrupted, "100 tasks stopped\n", "interrupted. Up to 100 more tasks may be stopped. To continue")
	tr.ctx, tr.api = t.Context(), real
	tr.run(continued(t, r)...).wants(t, exitDone, "150 tasks stopped\n", "")
	if n := tr.count(af.StatusStopped); n != 250 {
		t.Errorf("%d tasks are stopped", n)
	}
	page, err := tr.app.Audit(t.Context(), af.AuditQuery{Limit: 1})
	if err != nil || !strings.HasPrefix(page.Entries[0].By, "ann") || page.Entries[0].Reason != "it's wrong" {
		t.Errorf("%+v, %v", page.Entries, err)
	}
}

// continued returns the arguments of the command that a result tells to continue with.
func continued(t *testing.T, r ran) []string {
	t.Helper()
	_, line, ok := strings.Cut(r.err, "af:   af ")
	if !ok {
		t.Fatalf("no command in %s", r.err)
	}
	line, _, _ = strings.Cut(line, "\n")
	var args []string
	for line != "" {
		arg, rest := "", ""
		for line != "" && line[0] != ' ' { // words may have quoted parts and escaped quotes
			switch line[0] {
			case '\'':
				part, after, _ := strings.Cut(line[1:], "'")
				arg, line = arg+part, after
			case '\\':
				arg, line = arg+line[1:2], line[2:]
			default:
				arg, line = arg+line[:1], line[1:]
			}
		}
		rest = strings.TrimPrefix(line, " ")
		args, line = append(args, arg), rest
	}
	return args
}

// If the answer to a page is lost, the page is repeated, which changes no task twice.
func TestLostPage(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 150)
	real := tr.api
	lost := af.NewError(af.ErrUnavailable, "connection reset").With(af.OutcomeUnknown)
	tr.api = &broken{API: real, many: func(page int) error {
		if page == 2 {
			return lost
		}
		return nil
	}}
	r := tr.run("-o", "json", "stop", "-where", "queue:mail", "-yes")
	r.wants(t, exitUnavailable, `"changed": 100`, "ended early. Up to 100 more tasks may be stopped")
	var report bulkReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || report.Cursor == "" {
		t.Errorf("%+v, %v", report, err)
	}
	tr.api = real
	tr.run(continued(t, r)...).wants(t, exitDone, "50 tasks stopped\n", "")
}

// A task that can't be changed fails alone; the first failures are listed.
func TestFailuresAreListed(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 130, af.Delay(time.Hour))
	tr.api = &broken{API: tr.api, one: func(id string) error {
		if strings.HasSuffix(id, "7") || strings.HasSuffix(id, "3") {
			return af.Errorf(af.ErrDataLoss, "the document of %s is \x1b[31mdamaged", id)
		}
		return nil
	}}
	r := tr.run("run", "-where", "queue:mail", "-yes")
	r.wants(t, exitProblem, "104 tasks made due; 26 failed\n", "mail-127: data_loss: ")
	r.wants(t, exitProblem, "104", "\naf: and 6 more\n")
	if n := strings.Count(r.err, "data_loss"); n != maxListed || strings.Contains(r.err, "\x1b") {
		t.Errorf("%d failures are listed in %q", n, r.err)
	}
}

// Long changes print a line every few seconds, or show a bar on a terminal.
func TestProgress(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 350)
	tr.step = 3 * time.Second // the clock is looked at once a page
	r := tr.run("stop", "-where", "queue:mail", "-yes")
	r.wants(t, exitDone, "350 tasks stopped\n", "af: stopping tasks: 200 of 350\n")
	if n := strings.Count(r.err, "\n"); n > 2 {
		t.Errorf("%d lines:\n%s", n, r.err)
	}
	tr.submit("more", 350)
	tr.terminal = true
	r = tr.run("stop", "-where", "queue:more", "-yes")
	r.wants(t, exitDone, "350 tasks stopped\n", "stopping tasks")
	r.wants(t, exitDone, "350 tasks stopped\n", "(300/350)")
}

// Several ids are tried one after the other; a lost answer is told as such.
func TestSeveralIDs(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 3)
	tr.api = &broken{API: tr.api, one: func(id string) error {
		if id == "mail-1" {
			return af.NewError(af.ErrUnavailable, "connection reset").With(af.OutcomeUnknown)
		}
		return nil
	}}
	r := tr.run("stop", "mail-0", "mail-1", "mail-2")
	r.wants(t, exitProblem, "mail-0 stopped\nmail-2 stopped\n",
		"mail-1: unavailable: connection reset: the answer was lost")
	r = tr.run("stop", "mail-1")
	r.wants(t, exitUnavailable, "", "the answer was lost, so the change may have been made: af get mail-1 shows the task")
	r = tr.run("-o", "json", "stop", "mail-1")
	r.wants(t, exitUnavailable, `"unknown": true`, "mail-1: ")
}

// A user without the right is told once, and nothing is changed.
func TestNotAllowed(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 2)
	tr.api = admin.Guard(tr.api, admin.User{Name: "bob", Rights: admin.ReadOnly()})
	for _, args := range [][]string{
		{"stop", "mail-0", "mail-1"}, {"stop", "-where", "queue:mail", "-yes"}, {"stop", "-where", "queue:mail", "-dry-run"},
		{"run", "mail-0"}, {"delete", "mail-0"}, {"retry", "mail-0"}, {"reweigh", "3", "mail-0"}, {"submit", "mail", "1"},
		{"pause", "mail"}, {"resume", "mail"}, {"max", "mail", "3"}, {"max", "mail", "-reset"}, {"fire", "j"},
		{"enable", "j"}, {"disable", "j"}, {"call", "a.B"},
	} {
		r := tr.run(args...)
		if args[0] == "call" { // no service is running, which a reader may know
			r.wants(t, exitUnavailable, "", "no instance of service")
			continue
		}
		r.wants(t, exitUsage, "", `user "bob" does not have the right`)
		if n := strings.Count(r.err, "\n"); n != 1 {
			t.Errorf("%v: %s", args, r.err)
		}
	}
	if n := tr.count(af.StatusPending); n != 2 {
		t.Errorf("%d tasks wait", n)
	}
}

// Changes are recorded with the user's name and the reason.
func TestChangesAreRecorded(t *testing.T) {
	tr := newTrial(t)
	tr.submit("mail", 1, af.Delay(time.Hour))
	for _, args := range [][]string{
		{"reweigh", "3", "mail-0"}, {"run", "mail-0"}, {"stop", "mail-0"}, {"retry", "mail-0"}, {"delete", "mail-0"},
		{"pause", "mail"}, {"resume", "mail"}, {"max", "mail", "3"}, {"max", "mail", "-reset"},
	} {
		tr.run(append(args, "-reason", "why "+args[0])...).wants(t, exitDone, "mail", "")
		page, err := tr.app.Audit(t.Context(), af.AuditQuery{Limit: 1})
		if err != nil || len(page.Entries) != 1 || !strings.HasPrefix(page.Entries[0].By, "ann") ||
			page.Entries[0].Reason != "why "+args[0] {
			t.Errorf("%v: %+v, %v", args, page.Entries, err)
		}
	}
}

// Payloads that are too large are refused before they are sent.
func TestLargePayload(t *testing.T) {
	tr := newTrial(t)
	large := filepath.Join(t.TempDir(), "large.json")
	if err := os.WriteFile(large, []byte(`"`+strings.Repeat("x", maxJSON)+`"`), 0o600); err != nil {
		t.Fatal(err)
	}
	tr.run("submit", "mail", "@"+large).wants(t, exitUsage, "", "the payload has more than 4,194,304 bytes")
	tr.in = `"` + strings.Repeat("x", maxJSON-2) + `"`
	tr.run("submit", "mail", "-", "-id", "most").wants(t, exitDone, "most\n", "no worker")
	tr.in += " "
	tr.run("submit", "mail", "-").wants(t, exitUsage, "", "more than")
}
