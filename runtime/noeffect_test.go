package runtime_test

import (
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Options and fields that have no effect are rejected, and the error names the valid ones.
func TestOptionsWithoutEffectAreRejected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New())
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		refused := func(err error, text string) {
			t.Helper()
			wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, text)
		}

		schedule := func(opts ...af.JobOption) error { return q.Schedule(t.Context(), "j", "@daily", 1, opts...) }
		refused(schedule(af.Arguments(2)), "Arguments is an option of HandleJob")
		refused(schedule(af.Arguments(nil)), "Arguments is an option of HandleJob")
		refused(schedule(af.ChildProcess()), "ChildProcess is an option of HandleJob")
		refused(app.PutJob(t.Context(),
			af.JobSpec{ID: "j", Cron: "@daily", Worker: jobWorker, Options: af.JobOptions{ChildProcess: true}}), "ChildProcess")
		if err := schedule(af.Overlap(af.OverlapSkip)); err != nil {
			t.Error(err)
		}

		for _, n := range []int{-1001, 1001, 1 << 40} {
			_, err := q.Submit(t.Context(), 1, af.Weight(n))
			refused(err, "out of range [-1000, 1000]")
		}
		for _, n := range []int{-1000, 1000} {
			must(q.Submit(t.Context(), 1, af.Weight(n)))(t)
		}

		for _, n := range []int{-1, 1001} {
			const text = "out of range [0, 1000]"
			_, err := q.Submit(t.Context(), 1, af.Retries(n))
			refused(err, text)
			refused(schedule(af.Retries(n)), text)
		}

		_, err := app.Tasks(t.Context(), af.TaskQuery{Statuses: []af.Status{"done"}})
		refused(err, `unknown status "done": want one of [waiting pending running retrying success failed stopped]`)
	})
	heavy := jobWorker
	heavy.Weight = 1001
	app := open(t, memory.New())
	af.RegisterWorker(app, heavy, &job{})
	if err := app.Start(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "weight 1001 out of range [-1000, 1000]") {
		t.Errorf("a worker of weight 1001 starts: %v", err)
	}
}
