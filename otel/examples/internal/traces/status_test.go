package traces

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
)

// A pair are an App that works and one that submits, on a system.
type pair struct {
	*fixture
	client, app *af.App
	worker      *worker
}

// Every operation ends its span with the right status, on every backend.
func TestStatus(t *testing.T) {
	onEach(t, func(t *testing.T, s system) {
		p := &pair{fixture: observe(t, s)}
		p.client = p.start(t, nil, nil)
		p.app = p.start(t, nil, func(app *af.App) {
			serve(app)
			p.worker = newWorker(app)
			af.RegisterWorker(app, job, p.worker)
			af.RegisterWorker(app, child, newWorker(app))
			af.RegisterVoidWorker(app, photo, &photos{})
		})
		stop, err := p.Watch(p.app)
		must(t, err)
		defer stop()
		t.Run("attempts", p.attempts)
		t.Run("retried_task", p.retriedTask)
		t.Run("submissions", p.submissions)
		t.Run("calls", p.calls)
		t.Run("messages", p.messages)
		t.Run("jobs", p.jobs)
		t.Run("released", p.released)
		t.Run("abandoned", p.abandoned)
		t.Run("lease_lost", p.leaseLost)
		t.Run("killed", p.killed)
		p.endedOnce()
		t.Run("attributes", p.attributes)
		t.Run("metrics", p.metrics)
	})
}

// attempt describes how an attempt has ended: the span, its outcome, its status, the error.type, what the task becomes
// and what else is special.
func attempt(s span) string {
	a := s.Attributes
	verb, _, _ := strings.Cut(s.Name, " ")
	text := fmt.Sprintf("%s: %s, %s %s, %s", verb, a["af.task.outcome"], s.Status, a["error.type"], a["af.task.status"])
	for _, key := range []string{"af.task.snoozed", "af.task.abandoned", "af.task.process"} {
		if a[key] == "true" {
			text += ", " + strings.TrimPrefix(key, "af.task.")
		}
	}
	return text
}

// ends waits for the attempts of a task and compares how they have ended.
func (p *pair) ends(t *testing.T, task string, want ...string) {
	t.Helper()
	var got []string
	within(t, "the attempts of the task", func() bool {
		got = nil
		for _, s := range p.of(task) {
			got = append(got, attempt(s))
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("the attempts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (p *pair) queue(of af.Worker) af.Queue[string, int] {
	return af.NewQueue[string, int](p.client, of)
}

// What the payload of a task says, and how its attempts end.
func (p *pair) attempts(t *testing.T) {
	oldJob, untyped := job, job
	oldJob.Payload, untyped.Payload = "0ld000000000", ""
	const success = "process: success, unset , success"
	for _, tt := range []struct {
		name    string
		do      string // "" is name
		worker  af.Worker
		options []af.SubmitOption
		then    func(t *testing.T, id string) // while it runs or waits
		done    bool                          // the attempts are those of SubtasksDone
		want    []string
	}{
		{name: "succeeds", want: []string{success}},
		{name: "retries", want: []string{"process: failed, error unknown, retrying", success}},
		{name: "fails", want: []string{"process: failed, error unknown, retrying", "process: failed, error unknown, failed"}},
		{name: "snoozes", want: []string{"process: returned, unset , waiting, snoozed", success}},
		{name: "permanent", want: []string{"process: failed, error not_found, failed"}},
		{name: "panics", options: []af.SubmitOption{af.Retries(0)},
			want: []string{"process: failed, error internal, failed"}},
		{name: "done_panics", done: true, want: []string{"process: failed, error internal, retrying",
			"process: failed, error internal, failed"}},
		{name: "times_out", do: "waits", options: []af.SubmitOption{af.Retries(0), af.Timeout(timeout)},
			then: func(t *testing.T, _ string) { p.worker.began(t) },
			want: []string{"process: failed, error deadline_exceeded, failed"}},
		{name: "stopped_running", do: "waits", then: func(t *testing.T, id string) {
			p.worker.began(t)
			must(t, p.client.StopTask(t.Context(), id))
		}, want: []string{"process: stopped, unset , stopped"}},
		{name: "stopped_waiting", options: []af.SubmitOption{af.Delay(time.Hour)}, then: func(t *testing.T, id string) {
			must(t, p.client.StopTask(t.Context(), id))
		}},
		{name: "child_succeeds", do: "succeeds", worker: child, want: []string{success + ", process"}},
		{name: "child_killed", do: "dies", worker: child, options: []af.SubmitOption{af.Retries(0)},
			want: []string{"process: failed, error internal, failed, process"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			worker, do := job, tt.do
			if do == "" {
				do = tt.name
			}
			if tt.worker.Name != "" {
				worker = tt.worker
			}
			id, err := p.queue(worker).Submit(t.Context(), do, tt.options...)
			must(t, err)
			if tt.then != nil {
				tt.then(t, id)
			}
			_, err = p.client.WaitTree(t.Context(), id)
			must(t, err)
			if tt.done {
				id += "/done"
			}
			p.ends(t, id, tt.want...)
		})
	}
	t.Run("refused_payload", func(t *testing.T) { // it is of the same version
		id, err := af.NewQueue[int, int](p.client, job).Submit(t.Context(), 7)
		must(t, err)
		p.ends(t, id, "process: failed, error invalid_argument, failed")
	})
	t.Run("other_version", func(t *testing.T) { // it waits until a program of its version runs, which is no failure
		id, err := af.NewQueue[int, int](p.client, oldJob).Submit(t.Context(), 7)
		must(t, err)
		within(t, "an attempt", func() bool { return len(p.of(id)) > 0 })
		if got := attempt(p.of(id)[0]); got != "process: returned, unset , waiting" {
			t.Errorf("the attempt is %s", got)
		}
		must(t, p.client.StopTask(t.Context(), id))
	})
}

// RetryTask begins at its caller, and is linked to the submission of the task that it retries.
func (p *pair) retriedTask(t *testing.T) {
	id, err := p.queue(job).Submit(t.Context(), "permanent")
	must(t, err)
	_, err = p.client.WaitTask(t.Context(), id)
	must(t, err)
	again, err := p.client.RetryTask(t.Context(), id)
	must(t, err)
	p.ends(t, again, "process: failed, error not_found, failed")
	submits := p.matching(func(s span) bool {
		return s.Name == "submit job" && s.Attributes["messaging.message.id"] != ""
	})
	at := func(id string) span {
		return submits[slices.IndexFunc(submits, func(s span) bool { return s.Attributes["messaging.message.id"] == id })]
	}
	first, retry, run := at(id), at(again), p.of(again)[0]
	if len(retry.Links) != 1 || retry.Links[0] != (link{"retried_task", first.Trace, first.ID}) ||
		retry.Status != "unset" ||
		retry.Attributes["af.task.retry_of"] != id || run.Attributes["af.task.retry_of"] != id || run.Parent != retry.ID {
		t.Errorf("RetryTask is %+v, its attempt %+v", retry, run)
	}
}

// newest returns the span with a name that has begun last.
func (p *pair) newest(t *testing.T, name string) span {
	t.Helper()
	all := p.matching(func(s span) bool { return s.Name == name })
	if len(all) == 0 {
		t.Fatalf("no span %s", name)
	}
	return all[len(all)-1]
}

// Submissions that fail, completely or in part.
func (p *pair) submissions(t *testing.T) {
	var broken *fault.Backend
	client := p.start(t, func(b af.Backend) af.Backend {
		broken = fault.New(b, 1, fault.Plan{})
		return broken
	}, nil)
	q := af.NewQueue[string, int](client, idle)
	many := make([]string, 1001)
	for _, tt := range []struct {
		name   string
		submit func(ctx context.Context) error
		want   string // status, error.type, stored tasks of several
	}{
		{"stored", func(ctx context.Context) error { _, err := q.Submit(ctx, "x"); return err }, "unset  "},
		{"several", func(ctx context.Context) error { _, err := q.SubmitMany(ctx, many[:3]); return err }, "unset  3"},
		{"invalid", func(ctx context.Context) error {
			_, err := q.Submit(ctx, "x", af.Weight(5000))
			return err
		}, "error invalid_argument "},
		{"no_worker", func(ctx context.Context) error {
			_, err := q.Submit(ctx, "x", af.RequireWorker())
			return err
		}, "error failed_precondition "},
		{"too_large", func(ctx context.Context) error {
			_, err := q.Submit(ctx, strings.Repeat("x", 17<<20))
			return err
		}, "error resource_exhausted "},
		{"unknown", func(ctx context.Context) error { // it is stored
			broken.Fail("Insert", 1e6, fault.ReplyLost)
			_, err := q.Submit(ctx, "x")
			broken.Fail("Insert", 0, fault.None)
			if af.SubmittedID(err) == "" {
				t.Errorf("the submission returns %v", err)
			}
			return err
		}, "error unavailable "},
		{"in_part", func(ctx context.Context) error {
			broken.Fail("Insert", 1, fault.None)
			broken.Fail("Insert", 1e6, fault.Refused)
			ids, err := q.SubmitMany(ctx, many)
			broken.Fail("Insert", 0, fault.None)
			if len(ids) != 1000 {
				t.Errorf("%d tasks are stored", len(ids))
			}
			return err
		}, "error unavailable 1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := tt.submit(ctx)
			s := p.newest(t, "submit idle")
			got := s.Status + " " + s.Attributes["error.type"] + " " + s.Attributes["af.task.stored"]
			if got != tt.want || (err != nil) != (s.Status == "error") {
				t.Errorf("the span is %q, want %q; the submission returns %v", got, tt.want, err)
			}
			kind := "producer"
			if s.Attributes["messaging.batch.message_count"] != "" {
				kind = "client"
			}
			if s.Kind != kind {
				t.Errorf("its kind is %s", s.Kind)
			}
		})
	}
}

// Calls, as the client and the service see them: status, error.type, and the outcome for the client.
func (p *pair) calls(t *testing.T) {
	call := func(ctx context.Context, do string) error {
		_, err := get.Call(ctx, af.NewClient(p.client), do)
		return err
	}
	for _, tt := range []struct {
		name           string
		span           string // "" is orders/Get
		call           func(ctx context.Context) error
		code           string
		client, server string // server "" has no span
		// The client's context ends while the service answers: the outcome is answered or unknown, and the service sees its
		// deadline or the cancellation by the client, whichever is first.
		races bool
	}{
		{name: "ok", code: "ok", client: "unset  ", server: "unset "},
		{name: "not_found", code: "not_found", client: "error not_found answered", server: "unset "}, // the caller's fault
		{name: "fails", code: "unknown", client: "error unknown answered", server: "error unknown"},
		{name: "panics", code: "internal", client: "error internal answered", server: "error internal"},
		{name: "unimplemented", span: "orders/Nosuch", code: "unimplemented", client: "error unimplemented answered",
			call: func(ctx context.Context) error {
				_, err := p.client.Call(ctx, "orders", "Nosuch", nil)
				return err
			}},
		{name: "deadline", code: "deadline_exceeded", client: "error deadline_exceeded ", races: true,
			server: "error deadline_exceeded", call: func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				return call(ctx, "waits")
			}},
		{name: "cancelled", code: "canceled", client: "error canceled ", races: true, server: "unset ",
			call: func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(100*time.Millisecond, cancel)
				return call(ctx, "waits")
			}},
		{name: "not_sent", span: "absent/Does", code: "unavailable", client: "error unavailable not sent",
			call: func(ctx context.Context) error {
				_, err := p.client.Call(ctx, "absent", "Does", nil)
				return err
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := tt.span
			if name == "" {
				name = "orders/Get"
			}
			if tt.call == nil {
				tt.call = func(ctx context.Context) error { return call(ctx, tt.name) }
			}
			begun := time.Now()
			if err := tt.call(t.Context()); (err != nil) != (tt.code != "ok") {
				t.Errorf("the call returns %v", err)
			}
			var got map[string]span
			within(t, "the spans", func() bool {
				got = map[string]span{}
				for _, s := range p.matching(func(s span) bool { return s.Name == name && !s.Begun.Before(begun) }) {
					got[s.Kind] = s
				}
				return len(got) == 2 || tt.server == "" && len(got) == 1
			})
			c, s := got["client"], got["server"]
			outcome := c.Attributes["af.call.outcome"]
			if tt.races && (outcome == "answered" || outcome == "unknown") {
				outcome = ""
			}
			if is := c.Status + " " + c.Attributes["error.type"] + " " + outcome; is != tt.client {
				t.Errorf("the client has %q, want %q", is, tt.client)
			}
			code := s.Attributes["rpc.response.status_code"]
			cancelled := tt.races && code == "canceled" && s.Status == "unset"
			if is := s.Status + " " + s.Attributes["error.type"]; tt.server != "" && is != tt.server && !cancelled {
				t.Errorf("the service has %q, want %q", is, tt.server)
			}
			for kind, s := range got {
				is := s.Attributes["rpc.response.status_code"]
				if is != tt.code && !(kind == "server" && cancelled) {
					t.Errorf("%s has the code %q, want %q", kind, is, tt.code)
				}
			}
		})
	}
}

// Raw messages: one is handled at its second delivery, one is rejected and one fails too often.
func (p *pair) messages(t *testing.T) {
	ctx, request := p.request(t)
	for _, body := range []string{"again", "reject", "fails"} {
		must(t, p.client.Send(ctx, "mail", body))
	}
	receiving, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- p.app.Receive(receiving, "mail", func(ctx context.Context, body json.RawMessage) error {
			switch first := af.MessageFrom(ctx).Attempt == 1; {
			case string(body) == `"reject"`:
				return af.Permanent(af.Errorf(af.ErrInvalidArgument, otherSecret))
			case string(body) == `"fails"` || first:
				return af.ErrUnavailable
			}
			return nil
		}, af.MaxAttempts(2))
	}()
	defer func() {
		stop()
		<-done
	}()
	sent := p.matching(func(s span) bool { return s.Name == "send mail" })
	if len(sent) != 3 {
		t.Fatalf("%d spans send mail", len(sent))
	}
	deliveries := map[string][]string{} // by the span that has sent it
	within(t, "five deliveries", func() bool {
		clear(deliveries)
		got := p.matching(func(s span) bool { return s.Name == "process mail" })
		for _, s := range got {
			text := fmt.Sprintf("%s %s %s, attempt %s", s.Status, s.Attributes["error.type"],
				s.Attributes["af.message.dead"], s.Attributes["af.task.attempt"])
			deliveries[s.Parent] = append(deliveries[s.Parent], text)
			if len(s.Links) != 1 || s.Links[0] != (link{"creation", s.Trace, s.Parent}) {
				t.Errorf("a delivery has the links %v, want one to its parent %s", s.Links, s.Parent)
			}
		}
		return len(got) >= 5
	})
	for i, want := range [][]string{
		{"error unavailable , attempt 1", "unset  , attempt 2"},
		{"error invalid_argument permanent, attempt 1"},
		{"error unavailable , attempt 1", "error unavailable attempts, attempt 2"},
	} {
		got := deliveries[sent[i].ID]
		if !slices.Equal(got, want) || sent[i].Status != "unset" || sent[i].Kind != "producer" ||
			sent[i].Parent != request.SpanID().String() {
			t.Errorf("message %d is %+v, and delivered as %q, want %q", i, sent[i], got, want)
		}
	}
}

// A fire is a trace of its own. Due times that are skipped have no span, and are counted.
func (p *pair) jobs(t *testing.T) {
	started := make(chan struct{}, 10)
	release := make(chan struct{})
	p.start(t, nil, func(app *af.App) {
		af.HandleJobFunc(app, "quick", "* * * * * *", func(context.Context) error { return nil })
		af.HandleJobFunc(app, "slow", "* * * * * *", func(ctx context.Context) error {
			started <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		}, af.Overlap(af.OverlapSkip))
	})
	<-started
	within(t, "a due time is skipped", func() bool { return p.fires("slow", "overlap") > 0 })
	fired := map[string]bool{} // tasks, as two Apps may submit that of one due time
	for _, s := range p.matching(func(s span) bool { return s.Attributes["af.job"] == "slow" && s.Kind == "producer" }) {
		fired[s.Attributes["messaging.message.id"]] = true
	}
	if len(fired) != 1 {
		t.Errorf("while its first task runs, the job has submitted %v", fired)
	}
	close(release)
	var fire span
	var inTrace []span
	within(t, "the trace of a fire", func() bool { // an attempt may end before the fire that has submitted its task
		if fires := p.matching(func(s span) bool { return s.Name == "fire quick" }); len(fires) > 0 {
			fire = fires[0]
			inTrace = p.matching(func(s span) bool { return s.Trace == fire.Trace })
		}
		return len(inTrace) >= 3
	})
	must(t, p.client.RemoveJob(t.Context(), "slow"))
	must(t, p.client.RemoveJob(t.Context(), "quick"))
	if fire.Parent != "" || fire.Status != "unset" || len(inTrace) != 3 || inTrace[1].Parent != fire.ID ||
		inTrace[2].Parent != inTrace[1].ID || attempt(inTrace[2]) != "process: success, unset , success" {
		t.Errorf("the trace of a fire is %+v", inTrace)
	}
}

// fires returns af.job.fires of a job.
func (p *pair) fires(job, result string) float64 {
	return sum(p.collect()["af.job.fires"], map[string]string{"af.job": job, "result": result})
}
