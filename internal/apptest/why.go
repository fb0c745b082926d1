package apptest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A situation is one in which a task does not run, or ended or runs.
type situation struct {
	w    *world
	app  *af.App // without workers
	name string  // of its queue
}

// explained checks the rules that hold for a task, the answer first, once the answer is the wanted one. It returns the
// answer.
func (s *situation) explained(id string, rules ...admin.Rule) admin.Finding {
	s.w.Helper()
	var e admin.Explanation
	var got []admin.Rule
	begun := time.Now()
	for time.Since(begun) < patience {
		e = must(admin.New(s.app).Why(s.w.Context(), id))(s.w)
		got = nil
		for _, f := range e.Rules {
			got = append(got, f.Rule)
		}
		if slices.Equal(got, rules) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !slices.Equal(got, rules) {
		s.w.Errorf("%s: rules %v, want %v: %+v", s.name, got, rules, e)
	}
	for _, f := range e.Rules {
		if !strings.HasSuffix(f.Text, ".") || f.Text != strings.TrimSpace(f.Text) {
			s.w.Errorf("%s: %q is no sentence", s.name, f.Text)
		}
	}
	if e.Task != id || e.At.IsZero() || len(e.Rules) == 0 {
		s.w.Fatalf("%s: %+v", s.name, e)
	}
	s.w.Logf("%s: %s", s.name, e.Rules[0].Text)
	return e.Rules[0]
}

func (s *situation) worker() af.Worker {
	w := jobWorker
	w.Name, w.Type, w.Max = s.name, "Why", 1
	return w
}

func (s *situation) queue() af.Queue[int, int] { return af.NewQueue[int, int](s.app, s.worker()) }

// works opens an App with the queue's worker.
func (s *situation) works(run func(ctx context.Context, n int) (int, error), opts ...af.AppOption) *af.App {
	return s.w.open(func(app *af.App) { af.RegisterWorker(app, s.worker(), &job{run}) }, opts...)
}

func (s *situation) submit(opts ...af.SubmitOption) string {
	s.w.Helper()
	return must(s.queue().Submit(s.w.Context(), 1, opts...))(s.w)
}

// until returns a handler that works until the returned function is called, whatever its context, and how to wait for
// the handler to begin.
func until() (run func(context.Context, int) (int, error), begun chan struct{}, end func()) {
	begun, done := make(chan struct{}, 100), make(chan struct{})
	return func(context.Context, int) (int, error) {
		begun <- struct{}{}
		<-done
		return 0, nil
	}, begun, func() { close(done) }
}

// explanations produces each situation and checks what explains it.
func explanations(w *world) {
	client := w.open(nil, af.IP("192.0.2.9"))
	for _, s := range []struct {
		name string
		do   func(*situation)
	}{
		{"ended", whyEnded}, {"runs", whyRunning}, {"gated", whyGated}, {"not_due", whyNotDue}, {"retrying", whyRetrying},
		{"paused", whyPaused}, {"no_worker", whyNoWorker}, {"draining", whyDraining}, {"version", whyVersion},
		{"not_allowed", whyNotAllowed}, {"limit_zero", whyLimitZero}, {"busy", whyBusy}, {"deadline", whyDeadline},
	} {
		s.do(&situation{w, client, "why_" + s.name})
	}
	if _, err := admin.New(client).Why(w.Context(), "none"); !errors.Is(err, af.ErrNotFound) {
		w.Errorf("a task that does not exist: %v", err)
	}
}

func whyEnded(s *situation) {
	s.works(func(_ context.Context, n int) (int, error) {
		if n == 1 {
			return 0, af.Permanent(errors.New("out of paper"))
		}
		return n, nil
	})
	f := s.explained(s.submit(), admin.RuleEnded)
	if !strings.Contains(f.Text, "It failed at") || !strings.Contains(f.Text, "out of paper") || len(f.Help) != 1 {
		s.w.Errorf("%+v", f)
	}
	id := must(s.queue().Submit(s.w.Context(), 2))(s.w)
	if f := s.explained(id, admin.RuleEnded); !strings.Contains(f.Text, "It succeeded at") || f.Evidence.Since.IsZero() {
		s.w.Errorf("%+v", f)
	}
	id = must(s.queue().Submit(s.w.Context(), 2, af.Delay(time.Hour)))(s.w)
	s.w.must(s.app.StopTask(s.w.Context(), id))
	if f := s.explained(id, admin.RuleEnded); !strings.Contains(f.Text, "It was stopped at") {
		s.w.Errorf("%+v", f)
	}
}

func whyRunning(s *situation) {
	run, begun, end := until()
	app := s.works(run)
	defer end()
	id := s.submit()
	<-begun
	f := s.explained(id, admin.RuleRunning)
	if in := must(s.app.GetTask(s.w.Context(), id))(s.w).Instance; in != "" { // backends without it leave it empty
		if f.Evidence.Instance != app.Instance().ID || f.Evidence.IP != "192.0.2.1" {
			s.w.Errorf("%+v", f)
		}
	}
	if f.Evidence.Attempt != 1 || f.Evidence.Since.IsZero() {
		s.w.Errorf("%+v", f)
	}
	now := must(s.app.Now(s.w.Context()))(s.w)
	if e := f.Evidence; e.Instance != "" && (now.Sub(e.LastBeat).Abs() > patience || !e.Expires.After(e.LastBeat)) {
		s.w.Errorf("now %v: %+v", now, f)
	}
	s.w.must(s.app.StopTask(s.w.Context(), id))
	s.explained(id, admin.RuleStopping, admin.RuleRunning)
}

func whyGated(s *situation) {
	run, begun, end := until()
	s.works(run)
	defer end()
	source := s.submit()
	<-begun
	ids := must(s.queue().Subtasks(s.w.Context(), source, []int{1}))(s.w)
	f := s.explained(ids[0], admin.RuleGated, admin.RuleBusy)
	if f.Evidence.Source != source || f.Evidence.SourceStatus != af.StatusRunning {
		s.w.Errorf("%+v", f)
	}
	s.w.must(s.app.PauseQueue(s.w.Context(), s.name))
	s.explained(ids[0], admin.RuleGated, admin.RulePaused)
}

func whyNotDue(s *situation) {
	s.works(same)
	f := s.explained(s.submit(af.Delay(time.Hour)), admin.RuleNotDue)
	if d := time.Until(f.Evidence.Until); d < 50*time.Minute || d > 70*time.Minute {
		s.w.Errorf("due in %v: %+v", d, f)
	}
}

func whyRetrying(s *situation) {
	w := s.worker()
	w.Retries, w.Backoff = 3, time.Hour
	s.w.open(func(app *af.App) {
		af.RegisterWorker(app, w, &job{func(_ context.Context, n int) (int, error) {
			if n == 2 {
				return 0, af.Snooze(time.Hour)
			}
			return 0, af.NewError(af.ErrUnavailable, "the printer is offline")
		}})
	})
	f := s.explained(s.submit(), admin.RuleNotDue)
	for _, part := range []string{"Attempt 1", "unavailable", "the printer is offline"} {
		if !strings.Contains(f.Text, part) {
			s.w.Errorf("%q without %q", f.Text, part)
		}
	}
	f = s.explained(must(s.queue().Submit(s.w.Context(), 2))(s.w), admin.RuleNotDue)
	if !strings.Contains(f.Text, "returned it") {
		s.w.Errorf("%q", f.Text)
	}
}

func whyPaused(s *situation) {
	s.works(same)
	s.w.must(s.app.PauseQueue(s.w.Context(), s.name))
	s.w.within(patience, "the pause is applied", func() bool {
		workers := must(s.app.Workers(s.w.Context(), af.WorkerQuery{Queue: s.name}))(s.w).Workers
		return len(workers) == 1 && workers[0].Applied == 0
	})
	s.explained(s.submit(), admin.RulePaused)
	s.explained(s.submit(af.Delay(time.Hour)), admin.RuleNotDue, admin.RulePaused)
}

func whyNoWorker(s *situation) {
	id := s.submit()
	s.explained(id, admin.RuleNoWorker)
	s.w.must(s.app.PauseQueue(s.w.Context(), s.name))
	s.explained(id, admin.RulePaused, admin.RuleNoWorker)
}

func whyDraining(s *situation) {
	run, begun, end := until()
	app := s.works(run)
	s.submit()
	<-begun
	id := s.submit()
	s.explained(id, admin.RuleBusy)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- app.Shutdown(ctx) }()
	s.explained(id, admin.RuleDraining)
	end()
	s.w.must(<-down)
	s.explained(id, admin.RuleNoWorker)
}

func whyVersion(s *situation) {
	o, n := s.worker(), s.worker()
	o.Payload, n.Payload = "0ld000000000", "new000000000"
	s.w.open(func(app *af.App) { af.RegisterWorker(app, o, &job{same}) })
	id := must(af.NewQueue[string, int](s.app, n).Submit(s.w.Context(), "text"))(s.w)
	begun := time.Now()
	for { // it is due again and again
		e := must(admin.New(s.app).Why(s.w.Context(), id))(s.w)
		if e.Rules[0].Rule == admin.RuleVersion {
			if v := e.Rules[0].Evidence; v.Version != n.Payload || len(v.Workers) != 1 || v.Workers[0].Version != o.Payload {
				s.w.Errorf("%+v", v)
			}
			s.w.Logf("%s: %s", s.name, e.Rules[0].Text)
			break
		}
		if time.Since(begun) > patience {
			s.w.Fatalf("%+v", e)
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.w.open(func(app *af.App) {
		af.RegisterWorker(app, n, &textJob{func(context.Context, string) (int, error) { return 0, nil }})
	})
	s.explained(id, admin.RuleEnded)
}

func whyNotAllowed(s *situation) {
	s.works(same)
	w := s.w
	w.must(s.queue().Schedule(w.Context(), s.name, "@yearly", 1, af.AllowIPs("198.51.100.7", "203.0.113.0/24")))
	id := must(s.app.RunJob(w.Context(), s.name))(w)
	if f := s.explained(id, admin.RuleNotAllowed); len(f.Evidence.Allow) != 2 || len(f.Evidence.Workers) != 1 {
		w.Errorf("%+v", f)
	}
	s.works(same, af.IP("203.0.113.5"))
	s.explained(id, admin.RuleEnded)
}

func whyLimitZero(s *situation) {
	s.works(same)
	s.w.must(s.app.UpdateMaxWorkers(s.w.Context(), s.name, "", 0))
	s.w.within(patience, "the limit is applied", func() bool {
		workers := must(s.app.Workers(s.w.Context(), af.WorkerQuery{Queue: s.name}))(s.w).Workers
		return len(workers) == 1 && workers[0].Applied == 0
	})
	s.explained(s.submit(), admin.RuleLimitZero)
}

func whyBusy(s *situation) {
	run, begun, end := until()
	s.works(run)
	defer end()
	s.submit()
	<-begun
	s.submit(af.Weight(5))
	id := s.submit()
	s.w.within(patience, "the running task is announced", func() bool {
		return must(s.app.Workers(s.w.Context(), af.WorkerQuery{Queue: s.name}))(s.w).Workers[0].Running == 1
	})
	f := s.explained(id, admin.RuleBusy)
	if e := f.Evidence; e.Slots != 1 || e.Taken != 1 || e.Oldest.IsZero() {
		s.w.Errorf("%+v", f)
	}
	if n := f.Evidence.Ahead; n != nil && n.N != 1 { // nil if the store doesn't count
		s.w.Errorf("ahead %+v", n)
	}
}

func whyDeadline(s *situation) {
	s.w.must(s.app.PauseQueue(s.w.Context(), s.name, af.Create()))
	id := s.submit(af.Deadline(time.Now().Add(40 * time.Second)))
	s.explained(id, admin.RulePaused, admin.RuleNoWorker, admin.RuleDeadline)
	s.explained(s.submit(af.Deadline(time.Now().Add(time.Hour))), admin.RulePaused, admin.RuleNoWorker)
}
