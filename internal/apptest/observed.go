package apptest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
)

// The tasks of observed, by their payload.
const (
	obsSucceeds = iota
	obsCalls    // it makes a call, submits a subtask and succeeds
	obsRetries
	obsSnoozes
	obsFails
	obsPanics
	obsTimesOut
	obsStops
)

// observed submits tasks from one App and runs them on another. Both have the same instrument.
func observed(w *world) {
	rec := &recorder.Recorder{}
	client := w.open(nil, af.IP("192.0.2.2"), af.Instrument(rec))
	var app *af.App
	var snoozed atomic.Bool
	started := make(chan struct{}, 1)
	app = w.open(func(app *af.App) {
		adds(func(a args) (sum, error) {
			if a.X < 0 {
				return sum{}, af.ErrOutOfRange
			}
			return sum{a.X + a.Y}, nil
		})(app)
		af.RegisterWorker(app, jobWorker, &fan{job{func(ctx context.Context, n int) (int, error) {
			t := af.TaskFrom(ctx)
			switch n {
			case obsCalls:
				_, err := addMethod.Call(ctx, af.NewClient(app), args{1, 2})
				if err == nil {
					_, err = af.NewQueue[int, int](app, jobWorker).Subtasks(ctx, t.ID, []int{obsSucceeds})
				}
				return n, err
			case obsRetries:
				if t.Attempt == 1 {
					return 0, errors.New("again")
				}
			case obsSnoozes:
				if !snoozed.Swap(true) {
					return 0, af.Snooze(0)
				}
			case obsFails:
				return 0, af.Permanent(af.ErrNotFound)
			case obsPanics:
				panic("bug")
			case obsTimesOut, obsStops:
				if n == obsStops {
					started <- struct{}{}
				}
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return n, nil
		}}, func() {}})
		af.HandleJob(app, "observed", "* * * * * *", func(context.Context, string) error { return nil }, af.Arguments("x"))
	}, af.Instrument(rec))
	q := af.NewQueue[int, int](client, jobWorker)
	submit := func(ctx context.Context, n int, opts ...af.SubmitOption) string {
		return must(q.Submit(ctx, n, append([]af.SubmitOption{af.Retries(1)}, opts...)...))(w)
	}

	w.traceSurvives(rec, client, submit)
	ids := map[int]string{}
	for n := obsRetries; n <= obsStops; n++ {
		var opts []af.SubmitOption
		if n == obsTimesOut {
			opts = append(opts, af.Timeout(10*time.Millisecond), af.Retries(0))
		}
		if n == obsPanics {
			opts = append(opts, af.Retries(0))
		}
		ids[n] = submit(w.Context(), n, opts...)
	}
	<-started
	l := app.Load()
	if len(l.Queues) != 2 || l.Queues[0].Queue != "job" || l.Queues[0].Slots != 8 || l.Queues[0].Used < 1 {
		w.Errorf("while a task runs, the load is %+v", l)
	}
	w.must(client.StopTask(w.Context(), ids[obsStops]))
	for n, status := range map[int]af.Status{
		obsRetries: af.StatusSuccess, obsSnoozes: af.StatusSuccess, obsFails: af.StatusFailed, obsPanics: af.StatusFailed,
		obsTimesOut: af.StatusFailed, obsStops: af.StatusStopped,
	} {
		w.ends(client, ids[n], status)
	}
	w.callsObserved(rec, client)
	w.messagesObserved(rec, client, app)
	w.jobsObserved(rec, app)
	again := must(client.RetryTask(w.Context(), ids[obsFails]))(w)
	w.ends(client, again, af.StatusFailed)

	w.close(app)
	w.close(client)
	for _, line := range rec.NotOnce() {
		w.Error(line)
	}
	w.attemptsObserved(rec, ids)
	if s := rec.Spans(func(s *recorder.Span) bool { return s.Kind == "submit" && s.Start.RetryOf != "" }); len(s) != 1 ||
		s[0].Start.RetryOf != ids[obsFails] || s[0].Ends[0].Task != again || s[0].Start.Metadata["traceparent"] == "" {
		w.Errorf("the retry is %+v", s)
	}
	ended := map[string]af.Status{}
	for _, e := range rec.Events(instrument.TaskEnded) {
		ended[e.Task] = e.Status
	}
	for n, id := range ids {
		if ended[id] == "" {
			w.Errorf("the end of task %d is not observed", n)
		}
	}
	for _, kind := range []instrument.Kind{instrument.Claimed, instrument.Settled} {
		if len(rec.Events(kind)) == 0 {
			w.Errorf("no event of the kind %s", kind)
		}
	}
	both := rec.Spans(func(s *recorder.Span) bool { return s.Kind == "attempt" && s.Start.Task == ids[obsRetries] })
	if want := "00-" + both[0].Trace + "-" + both[0].ID + "-01"; both[0].Start.Previous != "" ||
		both[1].Start.Previous != want {
		w.Errorf("the attempts follow %q and %q, want none and %q", both[0].Start.Previous, both[1].Start.Previous, want)
	}
}

// traceSurvives checks that one trace goes from a caller through the queue, a call, a subtask and SubtasksDone.
func (w *world) traceSurvives(
	rec *recorder.Recorder, client *af.App, submit func(context.Context, int, ...af.SubmitOption) string,
) {
	ctx, trace := rec.Root(w.Context())
	id := submit(ctx, obsCalls)
	must(client.WaitTree(w.Context(), id))(w)
	var kinds []string
	byID := map[string]recorder.Span{}
	for _, s := range rec.Spans(func(s *recorder.Span) bool { return s.Trace == trace }) {
		kinds = append(kinds, s.Kind)
		byID[s.ID] = s
	}
	// the task, its subtask and its SubtasksDone; the task and the subtask are submitted
	want := []string{"attempt", "attempt", "attempt", "call", "handle", "submit", "submit"}
	if slices.Sort(kinds); !slices.Equal(kinds, want) {
		w.Errorf("the trace has %q, want %q", kinds, want)
	}
	for _, s := range byID {
		parent := byID[s.Parent]
		switch {
		case s.Kind == "submit" && s.Start.Source == "":
		case s.Kind == "attempt" && parent.Kind != "submit", s.Kind == "handle" && parent.Kind != "call",
			s.Kind == "call" && parent.Start.Task != id, s.Kind == "submit" && parent.Start.Task != id:
			w.Errorf("the parent of %s %+v is %s %+v", s.Kind, s.Start, parent.Kind, parent.Start)
		}
		if b := s.Start; s.Kind == "attempt" && (b.Queue != "job" || b.Fence == 0 || b.Attempt != 1 || b.Size == 0) {
			w.Errorf("an attempt begins with %+v", b)
		}
	}
	t := must(client.GetTask(w.Context(), id))(w)
	if len(t.Metadata) > 0 || len(t.Trace) != len(trace1) || t.Trace[3:35] != trace {
		w.Errorf("the task has trace %q and metadata %v, want only trace %s", t.Trace, t.Metadata, trace)
	}
}

// attemptsObserved checks how the attempts have ended.
func (w *world) attemptsObserved(rec *recorder.Recorder, ids map[int]string) {
	type end struct {
		attempt string
		status  af.Status
		code    af.Code
		snoozed bool
	}
	for n, want := range map[int][]end{
		obsRetries:  {{"failed", af.StatusRetrying, af.ErrUnknown, false}, {"success", af.StatusSuccess, "", false}},
		obsSnoozes:  {{"returned", af.StatusWaiting, "", true}, {"success", af.StatusSuccess, "", false}},
		obsFails:    {{"failed", af.StatusFailed, af.ErrNotFound, false}},
		obsPanics:   {{"failed", af.StatusFailed, af.ErrInternal, false}},
		obsTimesOut: {{"failed", af.StatusFailed, af.ErrDeadlineExceeded, false}},
		obsStops:    {{"stopped", af.StatusStopped, af.ErrAborted, false}},
	} {
		var got []end
		for _, s := range rec.Spans(func(s *recorder.Span) bool { return s.Kind == "attempt" && s.Start.Task == ids[n] }) {
			e := s.Ends[0]
			got = append(got, end{string(e.Attempt), e.Status, e.Code, e.Snoozed})
		}
		if !slices.Equal(got, want) {
			w.Errorf("the attempts of task %d end as %v, want %v", n, got, want)
		}
	}
}

// callsObserved checks calls that fail.
func (w *world) callsObserved(rec *recorder.Recorder, client *af.App) {
	_, err := addMethod.Call(w.Context(), af.NewClient(client), args{-1, 0})
	if !errors.Is(err, af.ErrOutOfRange) {
		w.Errorf("the call returns %v", err)
	}
	_, err = client.Call(w.Context(), "nobody", "Does", nil)
	if !errors.Is(err, af.ErrUnavailable) {
		w.Errorf("the call returns %v", err)
	}
	for _, s := range rec.Kinds("call") {
		e := s.Ends[0]
		switch {
		case s.Start.Service == "nobody":
			if e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent || e.Tries != 1 {
				w.Errorf("a call without an instance ends with %+v", e)
			}
		case e.Code == af.ErrOutOfRange:
			if e.Outcome != af.OutcomeAnswered || e.Server == "" {
				w.Errorf("a refused call ends with %+v", e)
			}
		case e.Err != nil || e.Size == 0 || e.Server == "":
			w.Errorf("a call ends with %+v", e)
		}
	}
}

// messagesObserved sends a message whose first delivery fails, and one that is rejected.
func (w *world) messagesObserved(rec *recorder.Recorder, client, app *af.App) {
	ctx, trace := rec.Root(w.Context())
	w.must(client.Send(ctx, "observed", "retry"))
	w.must(client.Send(ctx, "observed", "reject"))
	receiving, stop := context.WithCancel(w.Context())
	handled := make(chan struct{}, 3)
	done := make(chan error, 1)
	go func() {
		done <- app.Receive(receiving, "observed", func(ctx context.Context, body json.RawMessage) error {
			defer func() { handled <- struct{}{} }()
			if string(body) == `"reject"` {
				return af.Permanent(af.ErrInvalidArgument)
			}
			if af.MessageFrom(ctx).Attempt == 1 {
				return af.ErrUnavailable
			}
			return nil
		})
	}()
	for range 3 {
		<-handled
	}
	received := func(s *recorder.Span) bool { return s.Kind == "message" && s.Start.Receive && len(s.Ends) > 0 }
	w.within(patience, "three deliveries", func() bool { return len(rec.Spans(received)) == 3 })
	stop()
	<-done
	var dead, again int
	for _, s := range rec.Spans(received) {
		if s.Trace != trace {
			w.Errorf("a delivery is in trace %s, not %s", s.Trace, trace)
		}
		switch e := s.Ends[0]; {
		case e.Dead == af.DeadPermanent && e.Code == af.ErrInvalidArgument:
			dead++
		case e.Code == af.ErrUnavailable && e.Delay > 0:
			again++
		case e.Err != nil:
			w.Errorf("a delivery ends with %+v", e)
		}
	}
	if dead != 1 || again != 1 {
		w.Errorf("%d messages are dead, %d redelivered", dead, again)
	}
}

// jobsObserved waits for a fire of the job, and runs it.
func (w *world) jobsObserved(rec *recorder.Recorder, app *af.App) {
	w.within(patience, "the job has fired", func() bool { return len(rec.Events(instrument.JobFired)) > 0 })
	fired := rec.Events(instrument.JobFired)[0]
	w.ends(app, fired.Task, af.StatusSuccess)
	manual := must(app.RunJob(w.Context(), "observed"))(w)
	w.ends(app, manual, af.StatusSuccess)
	for _, id := range []string{fired.Task, manual} {
		submits := rec.Spans(func(s *recorder.Span) bool { return s.Kind == "submit" && s.Start.Task == id })
		attempts := rec.Spans(func(s *recorder.Span) bool { return s.Kind == "attempt" && s.Start.Task == id })
		if len(submits) == 0 || len(attempts) != 1 || submits[0].Start.Job != "observed" ||
			attempts[0].Start.Job != "observed" || !slices.ContainsFunc(submits, func(s recorder.Span) bool {
			return s.ID == attempts[0].Parent && s.Ends[0].Stored == 1
		}) {
			w.Errorf("the task of a job is submitted by %+v and runs in %+v", submits, attempts)
		}
	}
}
