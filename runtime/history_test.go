package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// A historyWorker takes as long as its payload says, in milliseconds. It fails the first attempt of odd ones, snoozes
// the first attempt of multiples of 4, and fails multiples of 7 permanently.
type historyWorker struct{}

func (*historyWorker) Run(ctx context.Context, n int) error {
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch first := af.TaskFrom(ctx).Fence == 1; {
	case n%7 == 0:
		return af.Permanent(af.NewError(af.ErrNotFound, "gone"))
	case n%4 == 0 && first:
		return af.Snooze(time.Second)
	case n%2 == 1 && first:
		return af.NewError(af.ErrUnavailable, "later")
	}
	return nil
}

func historySpec(name string) af.Worker {
	return af.Worker{Name: name, Type: "Worker", Max: 8, Retries: 3, Backoff: time.Second}
}

// historySum adds up all points of a queue.
func historySum(t *testing.T, app *af.App, queue string, from time.Time) (sum af.HistoryPoint) {
	t.Helper()
	points, err := app.History(t.Context(), af.HistoryQuery{Queue: queue, From: from, Step: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sum.Codes = map[af.Code]int64{}
	for _, p := range points {
		sum.Submitted += p.Submitted
		sum.Started += p.Started
		sum.Succeeded += p.Succeeded
		sum.Failed += p.Failed
		sum.Retried += p.Retried
		sum.Returned += p.Returned
		sum.Stopped += p.Stopped
		sum.Lost += p.Lost
		sum.Wait.Count += p.Wait.Count
		sum.Run.Count += p.Run.Count
		sum.Run.Max = max(sum.Run.Max, p.Run.Max)
		for code, n := range p.Codes {
			sum.Codes[code] += n
		}
	}
	return sum
}

func TestHistoryIsExactWithoutFaults(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		from := time.Now()
		spec, other := historySpec("q"), historySpec("p")
		var processes []*aftest.Process
		for range 3 {
			processes = append(processes, c.Start(func(app *af.App) {
				af.RegisterVoidWorker(app, spec, &historyWorker{})
				af.RegisterVoidWorker(app, other, &historyWorker{})
			}))
		}
		queue := af.NewVoidQueue[int](c.Client(), spec)
		n := int64(280)
		var want af.HistoryPoint
		for i := 1; i <= int(n); i++ {
			var opts []af.SubmitOption
			if i%3 == 0 {
				opts = append(opts, af.TaskID(fmt.Sprint("task-", i)))
			}
			id, err := queue.Submit(t.Context(), i, opts...)
			if err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				time.Sleep(20 * time.Second)
				if _, err := queue.Submit(t.Context(), i, af.TaskID(id)); err != nil { // finds the task
					t.Fatal(err)
				}
			}
			want.Started++
			switch {
			case i%7 == 0:
				want.Failed++
				continue
			case i%4 == 0:
				want.Returned++
				want.Started++
			case i%2 == 1:
				want.Retried++
				want.Started++
			}
			want.Succeeded++
		}
		nobody := af.NewVoidQueue[int](c.Client(), historySpec("nobody"))
		late, err := nobody.Submit(t.Context(), 1, af.Deadline(time.Now().Add(time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		long, err := queue.Submit(t.Context(), 3_600_000)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if err := c.Client().StopTask(t.Context(), long); err != nil {
			t.Fatal(err)
		}
		if err := nobody.Wait(t.Context(), late); !errors.Is(err, af.ErrDeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(3 * time.Minute) // all windows are written
		check := func(when string) {
			got := historySum(t, c.Client(), "q", from)
			if got.Submitted != n+1 || got.Started != want.Started+1 || got.Succeeded != want.Succeeded ||
				got.Failed != want.Failed || got.Retried != want.Retried || got.Returned != want.Returned || got.Stopped != 1 ||
				got.Lost != 0 || got.Codes[af.ErrUnavailable] != want.Retried || got.Codes[af.ErrNotFound] != want.Failed ||
				got.Wait.Count != got.Started || got.Run.Count != got.Started ||
				got.Run.Max < 3*time.Minute || got.Run.Max > 4*time.Minute {
				t.Errorf("%s: %+v, want %+v and a stopped one", when, got, want)
			}
			if got := historySum(t, c.Client(), "nobody", from); got.Failed != 1 || got.Submitted != 1 ||
				got.Codes[af.ErrDeadlineExceeded] != 1 {
				t.Errorf("%s: without a worker: %+v", when, got)
			}
			if got := historySum(t, c.Client(), "p", from); got.Started != 0 {
				t.Errorf("%s: idle: %+v", when, got)
			}
			if got := historySum(t, c.Client(), "", from); got.Submitted != n+2 {
				t.Errorf("%s: all: %+v", when, got)
			}
		}
		check("now")
		// what the last minute has is written at the shutdown
		if err := queue.Wait(t.Context(), submitTo(t, queue, 2)); err != nil {
			t.Fatal(err)
		}
		want.Started++
		want.Succeeded++
		n++
		for _, p := range processes {
			if err := p.App().Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		check("after the shutdown")
		time.Sleep(untilFolded)
		check("after folding")
	})
}

// untilFolded is when everything is folded into hours. Idle processes make virtual hours expensive, so tests end all
// but one of them before.
const untilFolded = 3*time.Hour + 10*time.Minute

func submitTo(t *testing.T, queue af.VoidQueue[int], n int) string {
	t.Helper()
	id, err := queue.Submit(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Processes crash and requests lose their replies. Nothing counts twice, and what is missing is at most what happened
// in the last minute of a process, or was never replied to.
func TestHistoryWithFaults(t *testing.T) {
	aftest.Seeds(t, 4, func(t *testing.T, c *aftest.Cluster) {
		from := time.Now()
		spec := historySpec("q")
		var processes []*aftest.Process
		for range 3 {
			processes = append(processes, c.Start(func(app *af.App) {
				af.RegisterVoidWorker(app, spec, &historyWorker{})
			}))
		}
		queue := af.NewVoidQueue[int](c.Client(), spec)
		const n = 200
		var storm sync.WaitGroup
		storm.Go(func() { c.Storm(5 * time.Minute) })
		defer storm.Wait()
		var ids []string
		for i := range n {
			if id, err := queue.Submit(t.Context(), 2+i); err == nil {
				ids = append(ids, id)
			}
			if i%10 == 0 {
				time.Sleep(20 * time.Second)
			}
		}
		for _, id := range ids {
			_, _ = c.Client().WaitTask(t.Context(), id)
		}
		storm.Wait()
		for _, p := range processes {
			if err := p.App().Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(untilFolded)
		got := historySum(t, c.Client(), "q", from)
		t.Logf("%d tasks submitted: %+v", len(ids), got)
		if got.Submitted != int64(len(ids)) || got.Succeeded+got.Failed > n || got.Succeeded < n/2 {
			t.Errorf("%+v of %d tasks", got, n)
		}
		if ended := got.Succeeded + got.Retried + got.Returned + got.Stopped; got.Run.Count > ended+got.Failed {
			t.Errorf("%d attempts ran, %d ended: %+v", got.Run.Count, ended, got)
		}
	})
}
