package apptest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// worker returns the queue's only worker at an ip, as listed by app.
func (w *world) worker(app *af.App, ip string) af.WorkerInfo {
	w.Helper()
	page := must(app.Workers(w.Context(), af.WorkerQuery{Queue: "job", IP: ip}))(w)
	if len(page.Workers) != 1 || page.Total != 1 {
		w.Fatalf("workers %+v", page)
	}
	return page.Workers[0]
}

// awaitApplied waits until a worker has applied its limit.
func (w *world) awaitApplied(app *af.App, ip string, n int) time.Duration {
	w.Helper()
	return w.within(patience, fmt.Sprintf("%d applied", n), func() bool {
		i := w.worker(app, ip)
		return i.Wanted == n && i.Applied == n && i.AppliedRevision == i.WantedRevision
	})
}

// resizeStorm counts running handlers: once no more run than a new limit allows, never does one more start.
func resizeStorm(w *world) {
	var running, most, begun atomic.Int64
	worker := w.open(works(func(ctx context.Context, n int) (int, error) {
		now := running.Add(1)
		begun.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		select {
		case <-time.After(time.Duration(5+rand.IntN(40)) * time.Millisecond):
		case <-ctx.Done():
		}
		running.Add(-1)
		return n, ctx.Err()
	}))
	other := w.open(nil, af.IP("192.0.2.2"))
	q := af.NewQueue[int, int](other, jobWorker)
	feeding, stop := context.WithCancel(w.Context())
	var fed sync.WaitGroup
	fed.Go(func() {
		for feeding.Err() == nil {
			if w.worker(other, "").Waiting < 50 {
				if _, err := q.SubmitMany(w.Context(), make([]int, 100)); err != nil {
					w.Error(err)
					return
				}
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-feeding.Done():
			}
		}
	})
	defer fed.Wait()
	defer stop()
	const resizes, rounds = 100, 2
	for round := 1; ; round++ {
		var took, reads []time.Duration
		for i := range resizes {
			n := []int{1, 7, 3, 20, 0, 2, 12, 1, 5}[i%9]
			begin := time.Now()
			w.must(other.UpdateMaxWorkers(w.Context(), "job", []string{"", "192.0.2.1"}[i%2], n))
			w.awaitApplied(worker, "", n)
			took = append(took, time.Since(begin))
			begin = time.Now()
			must(other.QueueLimits(w.Context(), "job"))(w)
			reads = append(reads, time.Since(begin))
			w.within(patience, "earlier tasks have ended", func() bool { return w.worker(worker, "").Running <= n })
			most.Store(0)
			before := begun.Load()
			time.Sleep(5 * time.Millisecond)
			if n > 0 && i%10 == 0 {
				w.within(patience, "tasks begin", func() bool { return begun.Load() > before })
			}
			if m := most.Load(); m > int64(n) {
				w.Fatalf("resize %d: %d at once, where %d may be", i, m, n)
			}
		}
		slices.Sort(took)
		slices.Sort(reads)
		p99, read := took[resizes*99/100-1], reads[resizes*99/100-1]
		w.Logf("%d resizes are applied after p50 %v, p99 %v; a read takes p99 %v", resizes, took[resizes/2], p99, read)
		if p99 <= max(time.Second, 10*read) { // on a machine where a read takes 100 ms this can't be measured
			break
		}
		if round == rounds {
			w.Errorf("p99 of %d resizes is %v", resizes, p99)
			break
		}
	}
	w.must(other.UpdateMaxWorkers(w.Context(), "job", "", 4))
	if late := w.awaitApplied(other, "", 4); late > 5*time.Second {
		w.Errorf("others see it after %v", late)
	}
}

func limitsSurvive(w *world) {
	var ran atomic.Int64
	count := works(func(context.Context, int) (int, error) { ran.Add(1); return 0, nil })
	client := w.open(nil, af.IP("192.0.2.2"))
	w.must(client.UpdateMaxWorkers(w.Context(), "job", "192.0.2.1", 0, af.Create())) // there is nothing yet
	q := af.NewQueue[int, int](client, jobWorker)
	id := must(q.Submit(w.Context(), 1))(w)
	for range 2 {
		worker := w.open(count)
		if i := w.worker(worker, "192.0.2.1"); i.Wanted != 0 || i.Applied != 0 || i.Paused || i.AppliedRevision == 0 {
			w.Errorf("after a restart: %+v", i)
		}
		must(q.Submit(w.Context(), 2))(w)
		time.Sleep(300 * time.Millisecond)
		w.close(worker)
	}
	if n := ran.Load(); n > 0 {
		w.Errorf("%d tasks have run", n)
	}
	w.must(client.ResetMaxWorkers(w.Context(), "job", ""))
	worker := w.open(count)
	if i := w.worker(worker, ""); i.Applied != 8 {
		w.Errorf("the worker's own limit doesn't count again: %+v", i)
	}
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	must(q.Wait(ctx, id))(w)
}

// limitsOfUnknownQueue: an unknown queue or ip is refused, with the known ones in the error, unless Create is given.
func limitsOfUnknownQueue(w *world) {
	w.open(works(same), af.IP("192.0.2.1"))
	client := w.open(nil, af.IP("192.0.2.3"))
	unknown := func(err error, texts ...string) {
		w.Helper()
		if !errors.Is(err, af.ErrNotFound) {
			w.Errorf("error %v", err)
			return
		}
		for _, text := range texts {
			if !strings.Contains(err.Error(), text) {
				w.Errorf("%q doesn't say %q", err, text)
			}
		}
	}
	ctx := w.Context()
	unknown(client.PauseQueue(ctx, "jop"), `unknown queue "jop"`, "known are job", "af.Create()")
	unknown(client.UpdateMaxWorkers(ctx, "jop", "", 3), `unknown queue "jop"`)
	unknown(client.UpdateMaxWorkers(ctx, "job", "192.0.2.99", 3), "unknown ip 192.0.2.99", "192.0.2.1", "192.0.2.3")
	w.must(client.ResumeQueue(ctx, "jop"))
	w.must(client.ResetMaxWorkers(ctx, "jop", ""))
	if l := must(client.QueueLimits(ctx, "jop"))(w); l.Revision != 0 {
		w.Errorf("limits that change nothing are stored: %+v", l)
	}
	w.must(client.UpdateMaxWorkers(ctx, "job", "192.0.2.1", 3)) // an instance reports it
	w.must(client.UpdateMaxWorkers(ctx, "job", "192.0.2.99", 3, af.Create()))
	w.must(client.UpdateMaxWorkers(ctx, "job", "192.0.2.99", 4)) // the limits name it
	w.must(client.PauseQueue(ctx, "jop", af.Create()))
	w.must(client.UpdateMaxWorkers(ctx, "jop", "", 4)) // it has limits
	q := af.NewQueue[int, int](client, af.Worker{Name: "stored", Type: "Stored"})
	must(q.Store(ctx, 1))(w)
	w.must(client.PauseQueue(ctx, "stored")) // it has a task
	once := w.open(func(app *af.App) {
		af.RegisterWorker(app, af.Worker{Name: "once", Type: "Once", Max: 1, Backoff: time.Second, Weight: 1}, &job{same})
	})
	w.close(once)
	w.must(client.PauseQueue(ctx, "once")) // it had a worker
	daily := af.NewQueue[int, int](client, af.Worker{Name: "daily", Type: "Daily"})
	w.must(daily.Schedule(ctx, "daily", "@daily", 1))
	w.must(client.PauseQueue(ctx, "daily")) // it has a job
}

func limitsByIP(w *world) {
	for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		w.open(works(same), af.IP(ip))
	}
	client := w.open(nil, af.IP("192.0.2.3"))
	w.must(client.UpdateMaxWorkers(w.Context(), "job", "", 5))
	w.must(client.UpdateMaxWorkers(w.Context(), "job", "192.0.2.2", 2))
	w.awaitApplied(client, "192.0.2.1", 5)
	w.awaitApplied(client, "192.0.2.2", 2)
	const many = 8
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			if err := client.UpdateMaxWorkers(w.Context(), "job", fmt.Sprintf("198.51.100.%d", i), i, af.Create()); err != nil {
				w.Error(err)
			}
		})
	}
	all.Wait()
	l := must(client.QueueLimits(w.Context(), "job"))(w)
	if len(l.At) != many+1 || l.Max == nil || *l.Max != 5 || l.Revision == 0 {
		w.Errorf("limits %+v", l)
	}
	w.must(client.UpdateMaxWorkers(w.Context(), "job", "", 6))
	w.awaitApplied(client, "192.0.2.2", 6)
}

func pauses(w *world) {
	var ran, fanned atomic.Int64
	started, goOn := make(chan struct{}, 1), make(chan struct{})
	for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		w.open(func(app *af.App) {
			af.RegisterWorker(app, jobWorker, &fan{job{func(ctx context.Context, n int) (int, error) {
				if n == 0 {
					started <- struct{}{}
					<-goOn
				}
				ran.Add(1)
				return n, nil
			}}, func() { fanned.Add(1) }})
		}, af.IP(ip))
	}
	client := w.open(nil, af.IP("192.0.2.3"))
	q := af.NewQueue[int, int](client, jobWorker)
	source := must(q.Submit(w.Context(), 0))(w)
	must(q.Subtasks(w.Context(), source, nil))(w) // an empty set: SubtasksDone runs once the source has ended
	<-started
	w.must(client.PauseQueue(w.Context(), "job"))
	w.must(client.PauseQueue(w.Context(), "job"))
	for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		w.awaitApplied(client, ip, 0)
		if i := w.worker(client, ip); !i.Paused {
			w.Errorf("not listed as paused: %+v", i)
		}
	}
	if l := must(client.QueueLimits(w.Context(), "job"))(w); !l.Paused {
		w.Errorf("limits %+v", l)
	}
	ids := must(q.SubmitMany(w.Context(), []int{1, 2, 3}))(w)
	close(goOn) // running tasks finish
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	must(q.Wait(ctx, source))(w)
	w.within(patience, "waiting tasks are counted, with the task of SubtasksDone", func() bool {
		return w.worker(client, "192.0.2.1").Waiting == len(ids)+1
	})
	time.Sleep(200 * time.Millisecond)
	if ran.Load() != 1 || fanned.Load() != 0 {
		w.Errorf("while paused %d tasks and %d SubtasksDone have run", ran.Load()-1, fanned.Load())
	}
	begun := time.Now()
	w.must(client.ResumeQueue(w.Context(), "job"))
	for _, id := range ids {
		must(q.Wait(ctx, id))(w)
	}
	w.within(patience, "SubtasksDone has run", func() bool { return fanned.Load() == 1 })
	if took := time.Since(begun); took > 4*time.Second {
		w.Errorf("it resumed after %v", took)
	}
	w.awaitApplied(client, "192.0.2.1", 8)
}
