package admin_test

import (
	"context"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

var whyWorker = af.Worker{Name: "why", Type: "Why", Max: 2, Weight: 1, Backoff: time.Second}

type handler struct {
	run func(ctx context.Context) error
}

func (h *handler) Run(ctx context.Context, _ int) (int, error) { return 0, h.run(ctx) }

// start opens an App, with the worker unless run is nil.
func start(t *testing.T, b af.Backend, run func(context.Context) error) (*af.App, af.Queue[int, int]) {
	t.Helper()
	app, err := af.Open(t.Context(), b, af.Logger(slog.New(slog.DiscardHandler)), af.IP("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = app.Shutdown(ctx) // that of a process that has crashed fails
	})
	if run != nil {
		af.RegisterWorker(app, whyWorker, &handler{run})
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return app, af.NewQueue[int, int](app, whyWorker)
}

func submit(t *testing.T, q af.Queue[int, int], opts ...af.SubmitOption) string {
	t.Helper()
	id, err := q.Submit(t.Context(), 1, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rulesOf(t *testing.T, app *af.App, id string) ([]admin.Rule, admin.Finding) {
	t.Helper()
	e, err := admin.New(app).Why(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var rules []admin.Rule
	for _, f := range e.Rules {
		rules = append(rules, f.Rule)
	}
	return rules, e.Rules[0]
}

// want checks the rules that hold, and words of the answer's text.
func want(t *testing.T, app *af.App, id, words string, rules ...admin.Rule) admin.Finding {
	t.Helper()
	got, answer := rulesOf(t, app, id)
	if !slices.Equal(got, rules) || !strings.Contains(answer.Text, words) {
		t.Errorf("rules %v, want %v, and %q in the answer %q", got, rules, words, answer.Text)
	}
	return answer
}

func blocks(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// Situations that need faults, or hours of virtual time. Package apptest has those that every backend can produce.
func TestExplanationsAfterFaults(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"uncommitted": func(t *testing.T) {
			b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
			app, q := start(t, b, nil)
			source := submit(t, q)
			b.Fail("Spawn", 1000, fault.Refused)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := q.Subtasks(ctx, source, []int{1}); err == nil {
				t.Fatal("the batch was committed")
			}
			page, err := app.Tasks(t.Context(), af.TaskQuery{Source: source})
			if err != nil || len(page.Tasks) != 1 {
				t.Fatal(page, err)
			}
			f := want(t, app, page.Tasks[0].ID, source, admin.RuleUncommitted, admin.RuleNoWorker)
			if f.Evidence.Source != source {
				t.Errorf("%+v", f)
			}
		},
		"overdue": func(t *testing.T) {
			app, q := start(t, memory.New(), nil)
			id := submit(t, q, af.Deadline(time.Now().Add(time.Second)))
			want(t, app, id, "No instance runs a worker", admin.RuleNoWorker, admin.RuleDeadline)
			time.Sleep(time.Second)
			want(t, app, id, "Its deadline passed", admin.RuleOverdue, admin.RuleNoWorker)
			time.Sleep(12 * time.Second)
			want(t, app, id, "deadline_exceeded", admin.RuleEnded)
		},
		"due_after_deadline": func(t *testing.T) {
			app, q := start(t, memory.New(), blocks)
			id := submit(t, q, af.Deadline(time.Now().Add(50*time.Second)), af.Delay(time.Hour))
			want(t, app, id, "It is due at", admin.RuleNotDue, admin.RuleDeadline)
		},
		"lost_and_suspect": func(t *testing.T) {
			world := fault.Around(memory.New())
			victim := fault.New(world, 1, fault.Plan{})
			_, q := start(t, victim, blocks)
			first, second := submit(t, q), submit(t, q)
			time.Sleep(2 * time.Second)
			app, _ := start(t, fault.New(world, 2, fault.Plan{}), blocks)
			want(t, app, first, "It runs on", admin.RuleRunning)
			victim.Crash()
			seen := map[admin.Rule]bool{}
			for range 600 {
				time.Sleep(100 * time.Millisecond)
				for _, id := range []string{first, second} {
					rules, f := rulesOf(t, app, id)
					if rules[0] == admin.RuleLost && !strings.Contains(f.Text, "is gone") ||
						rules[0] == admin.RuleSuspect && !strings.Contains(f.Text, "1 process died") {
						t.Errorf("%+v", f)
					}
					seen[rules[0]] = true
				}
			}
			if !seen[admin.RuleLost] || !seen[admin.RuleSuspect] {
				t.Errorf("seen %v", seen)
			}
		},
		"silent": func(t *testing.T) {
			world := fault.Around(memory.New())
			b := fault.New(world, 1, fault.Plan{})
			_, q := start(t, b, blocks)
			id := submit(t, q)
			app, _ := start(t, fault.New(world, 2, fault.Plan{}), nil)
			time.Sleep(2 * time.Second)
			f := want(t, app, id, "It runs on", admin.RuleRunning)
			if e := f.Evidence; strings.Contains(f.Text, "heartbeat") || e.Expires.Sub(e.LastBeat) != 20*time.Second {
				t.Errorf("%+v", f)
			}
			b.Freeze()
			defer b.Thaw()
			time.Sleep(7 * time.Second)
			want(t, app, id, "no heartbeat for ", admin.RuleRunning)
		},
		"progress": func(t *testing.T) {
			app, q := start(t, memory.New(), func(ctx context.Context) error {
				if err := af.TaskFrom(ctx).Progress(ctx, "half"); err != nil {
					return err
				}
				return blocks(ctx)
			})
			id := submit(t, q)
			time.Sleep(3 * time.Second)
			f := want(t, app, id, "reported progress 3s ago", admin.RuleRunning)
			if e := f.Evidence; string(e.Progress) != `"half"` || e.Progressed.IsZero() {
				t.Errorf("%+v", e)
			}
		},
		"timed_out": func(t *testing.T) {
			done := make(chan struct{})
			app, q := start(t, memory.New(), func(context.Context) error { <-done; return nil })
			defer close(done)
			id := submit(t, q, af.Timeout(2*time.Second))
			time.Sleep(time.Second)
			want(t, app, id, "times out in 1s", admin.RuleRunning)
			time.Sleep(2 * time.Second)
			want(t, app, id, "its time-out passed 1s ago", admin.RuleRunning)
		},
		"not_claiming": func(t *testing.T) {
			world := fault.Around(memory.New())
			b := fault.New(world, 1, fault.Plan{})
			start(t, b, blocks)
			app, q := start(t, fault.New(world, 2, fault.Plan{}), nil)
			b.Fail("Beat", 1000, fault.Refused)
			time.Sleep(14 * time.Second)
			id := submit(t, q)
			f := want(t, app, id, "heartbeats", admin.RuleNotClaiming)
			if w := f.Evidence.Workers; len(w) != 1 || w[0].Refusal == "" {
				t.Errorf("%+v", f)
			}
		},
		"due_and_hint_lost": func(t *testing.T) {
			world := fault.Around(memory.New())
			b := fault.New(world, 1, fault.Plan{})
			start(t, b, blocks)
			app, q := start(t, fault.New(world, 2, fault.Plan{}), nil)
			time.Sleep(3 * time.Second)
			b.Freeze()
			defer b.Thaw()
			id := submit(t, q)
			want(t, app, id, "It is due", admin.RuleDue)
			time.Sleep(7 * time.Second)
			want(t, app, id, "although slots are free", admin.RuleHintLost)
		},
		"unavailable": func(t *testing.T) {
			down := backend.Condition{Name: "mongodb", Mode: "without-mongodb", Cause: "connection refused", Since: time.Now(),
				Stops: []backend.Stopped{backend.StopsTasks}}
			app, q := start(t, ill{memory.New(), &down}, nil)
			id := submit(t, q)
			f := want(t, app, id, "mongodb is unavailable", admin.RuleUnavailable, admin.RuleNoWorker)
			if len(f.Evidence.Conditions) != 1 {
				t.Errorf("%+v", f)
			}
			down.Stops = []backend.Stopped{backend.StopsCalls}
			want(t, app, id, "No instance", admin.RuleNoWorker)
		},
		"store_down": func(t *testing.T) {
			world := fault.Around(memory.New())
			app, q := start(t, fault.New(world, 1, fault.Plan{}), nil)
			id := submit(t, q)
			world.Down(false)
			defer world.Up()
			if _, err := admin.New(app).Why(t.Context(), id); af.CodeOf(err) != af.ErrUnavailable {
				t.Errorf("error %v", err)
			}
		},
		"paused_by": func(t *testing.T) {
			app, q := start(t, memory.New(), nil)
			if err := app.PauseQueue(t.Context(), "why", af.Create(), af.By("alice"), af.Reason("deploy")); err != nil {
				t.Fatal(err)
			}
			f := want(t, app, submit(t, q), "The queue is paused since 00:00:00 by alice: deploy.", admin.RulePaused,
				admin.RuleNoWorker)
			if e := f.Evidence; e.By != "alice" || e.Reason != "deploy" || e.Since.IsZero() {
				t.Errorf("%+v", f)
			}
		},
		"limits_by_name": func(t *testing.T) {
			app, q := start(t, memory.New(), blocks)
			if err := app.UpdateMaxWorkers(t.Context(), "why", "192.0.2.1", 0); err != nil {
				t.Fatal(err)
			}
			if err := app.UpdateMaxWorkers(t.Context(), "why", "192.0.2.2", 3, af.Create()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			want(t, app, submit(t, q), "limited to 0", admin.RuleLimitZero)
		},
	} {
		t.Run(name, func(t *testing.T) { bubble.Test(t, test) })
	}
}

// ill is a backend with a condition that is down.
type ill struct {
	af.Backend
	down *backend.Condition
}

func (b ill) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := b.Backend.Open(ctx, env)
	if err == nil {
		ports.Health = func() []backend.Condition { return []backend.Condition{*b.down} }
	}
	return ports, err
}

// docs/why.md has a row for each rule, in the order in which they are checked.
func TestDocumentOfRules(t *testing.T) {
	text, err := os.ReadFile("../../docs/why.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []admin.Rule
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(text, -1) {
		rows = append(rows, admin.Rule(row[1]))
	}
	if !slices.Equal(rows, admin.Rules()) {
		t.Errorf("docs/why.md has %v, the rules are %v", rows, admin.Rules())
	}
}
