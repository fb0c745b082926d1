package main

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
)

const (
	payloadSize = 128 // bytes, of a task and of a call
	submitters  = 8
	bulk        = 1000 // tasks in a call of submitMany
)

// A payload is the argument of a task or a call, and the reply.
type payload struct {
	Text string `json:"text"`
}

// message is a payload that encodes to payloadSize bytes in JSON.
var message = payload{strings.Repeat("x", payloadSize-len(`{"text":""}`))}

// rawMessage is message in JSON.
var rawMessage = []byte(`{"text":"` + message.Text + `"}`)

// A queue is a system that stores and runs tasks whose handler does nothing. It is empty when it is opened.
type queue interface {
	// submit stores one task. When it returns, the system has acknowledged it. It is safe for concurrent use.
	submit(ctx context.Context) error
	// submitMany stores n tasks with one call, or returns errUnsupported.
	submitMany(ctx context.Context, n int) error
	// worker prepares a worker that runs up to slots tasks at once, and returns a function that starts it. The handler
	// calls started.
	worker(ctx context.Context, slots int, started func()) (start func(context.Context) error, err error)
	// settled reports whether the results of all tasks that have started are stored.
	settled(ctx context.Context) (bool, error)
	// close ends the worker and the connections.
	close(ctx context.Context) error
}

var errUnsupported = errors.New("not supported")

// queues open the systems that are queues.
var queues = map[string]func(ctx context.Context, w *world) (queue, error){
	memory: openAfgen, embedded: openAfgen, servers: openAfgen,
	asynq: openAsynq, asynq10: openAsynq, river: openRiver, bare: openBareMongo,
}

// withQueue calls do with the queue of a world.
func withQueue(ctx context.Context, w *world, do func(q queue) (result, error)) (r result, err error) {
	open := queues[w.system]
	if open == nil {
		return nil, fmt.Errorf("%s is not a queue", w.system)
	}
	q, err := open(ctx, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.close(context.WithoutCancel(ctx))) }()
	return do(q)
}

// submitting returns a scenario with concurrent single submits: tasks per second.
func submitting(goroutines int) scenario {
	return func(ctx context.Context, w *world) (result, error) {
		return withQueue(ctx, w, func(q queue) (result, error) {
			if err := parallel(goroutines, 10*goroutines, func() error { return q.submit(ctx) }); err != nil { // connects
				return nil, err
			}
			n, took, err := repeat(goroutines, w.period(), func() error { return q.submit(ctx) })
			return only(float64(n) / took.Seconds()), err
		})
	}
}

// submittingMany measures bulk submits by one goroutine: tasks per second.
func submittingMany(ctx context.Context, w *world) (result, error) {
	return withQueue(ctx, w, func(q queue) (result, error) {
		if err := q.submitMany(ctx, bulk); err != nil {
			return nil, err
		}
		n, took, err := repeat(1, w.period(), func() error { return q.submitMany(ctx, bulk) })
		return only(float64(n*bulk) / took.Seconds()), err
	})
}

// preload stores n tasks.
func preload(ctx context.Context, q queue, n int) error {
	for left := n; left > 0; left -= bulk {
		err := q.submitMany(ctx, min(left, bulk))
		if errors.Is(err, errUnsupported) {
			return parallel(submitters, left, func() error { return q.submit(ctx) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// draining returns a scenario that starts a worker when tasks are stored already. The rate counts until their results
// are stored.
func draining(slots int) scenario {
	return func(ctx context.Context, w *world) (result, error) {
		return withQueue(ctx, w, func(q queue) (result, error) {
			n := w.n(10_000)
			if err := preload(ctx, q, n); err != nil {
				return nil, err
			}
			r := newRuns(n)
			start, err := q.worker(ctx, slots, r.started)
			if err != nil {
				return nil, err
			}
			begun := time.Now()
			if err := start(ctx); err != nil {
				return nil, err
			}
			if err := r.await(ctx, q); err != nil {
				return nil, err
			}
			return r.result(time.Since(begun)), nil
		})
	}
}

// endToEnd measures 8 submitters and a worker with 100 slots at the same time, from the first submit to the last stored
// result.
func endToEnd(ctx context.Context, w *world) (result, error) {
	return withQueue(ctx, w, func(q queue) (result, error) {
		const warmUp = submitters
		n := w.n(10_000)
		if w.system == memory {
			n = w.n(200_000)
		}
		first, all := newRuns(warmUp), newRuns(warmUp+n)
		start, err := q.worker(ctx, 100, func() { first.started(); all.started() })
		if err != nil {
			return nil, err
		}
		if err := start(ctx); err != nil {
			return nil, err
		}
		if err := parallel(submitters, warmUp, func() error { return q.submit(ctx) }); err != nil {
			return nil, err
		}
		if err := first.await(ctx, q); err != nil {
			return nil, err
		}
		begun := time.Now()
		if err := parallel(submitters, n, func() error { return q.submit(ctx) }); err != nil {
			return nil, err
		}
		if err := all.await(ctx, q); err != nil {
			return nil, err
		}
		r := all.result(time.Since(begun))
		r["rate"] = r["rate"] * float64(n) / float64(warmUp+n)
		return r, nil
	})
}

// roundTripper is a queue without a worker that waits for tasks. Its round trip is a submit and a claim.
type roundTripper interface {
	roundTrip(ctx context.Context) error
}

// idle measures single tasks with pauses between them: median time from the call of submit to the start of the run. The
// pauses are random, so that they don't keep step with a worker that polls.
func idle(ctx context.Context, w *world) (result, error) {
	n, pause := w.n(100), 20*time.Millisecond
	if w.system == asynq { // it looks for tasks every second
		n, pause = 9, time.Second
	}
	const warmUp = 1 // connects
	if w.quick {
		n = 2
	}
	return withQueue(ctx, w, func(q queue) (result, error) {
		started := make(chan time.Time, 1)
		once := func() (time.Time, error) {
			if err := q.submit(ctx); err != nil {
				return time.Time{}, err
			}
			select {
			case at := <-started:
				return at, nil
			case <-ctx.Done():
				return time.Time{}, context.Cause(ctx)
			}
		}
		if r, ok := q.(roundTripper); ok {
			once = func() (time.Time, error) { return now(r.roundTrip(ctx)) }
		} else {
			start, err := q.worker(ctx, 10, func() { started <- time.Now() })
			if err == nil {
				err = start(ctx)
			}
			if err != nil {
				return nil, err
			}
		}
		var took []float64
		for i := range warmUp + n {
			<-time.After(5*time.Millisecond + rand.N(pause))
			begun := time.Now()
			at, err := once()
			if err != nil {
				return nil, err
			}
			if i >= warmUp {
				took = append(took, micros(at.Sub(begun)))
			}
		}
		return only(median(took)), nil
	})
}

func now(err error) (time.Time, error) { return time.Now(), err }

// runs counts the runs of a number of tasks. Handlers call started.
type runs struct {
	want  int64
	count atomic.Int64
	all   chan struct{} // closed when as many runs as tasks have started
}

func newRuns(tasks int) *runs { return &runs{want: int64(tasks), all: make(chan struct{})} }

func (r *runs) started() {
	if r.count.Add(1) == r.want {
		close(r.all)
	}
}

// stuckAfter is how long await waits for the next run to start.
const stuckAfter = 30 * time.Second

// await waits until all tasks have started and their results are stored. It polls the latter.
func (r *runs) await(ctx context.Context, q queue) error {
	look, seen := time.NewTicker(stuckAfter), int64(-1)
	defer look.Stop()
	for waiting := true; waiting; {
		select {
		case <-r.all:
			waiting = false
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			n := r.count.Load()
			if n == seen {
				return fmt.Errorf("%d of %d tasks have started, and none in the last %v", n, r.want, stuckAfter)
			}
			seen = n
		}
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		if ok, err := q.settled(ctx); ok || err != nil {
			return err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// result returns the rate, and how many runs repeated a task.
func (r *runs) result(took time.Duration) result {
	return result{"rate": float64(r.want) / took.Seconds(), "repeated": float64(r.count.Load() - r.want)}
}

// parallel calls do n times from some goroutines.
func parallel(goroutines, n int, do func() error) error {
	var next atomic.Int64
	return each(goroutines, func() error {
		for next.Add(1) <= int64(n) {
			if err := do(); err != nil {
				return err
			}
		}
		return nil
	})
}

// repeat calls do from some goroutines during a period. It returns how often, and how long that took.
func repeat(goroutines int, period time.Duration, do func() error) (int64, time.Duration, error) {
	var n atomic.Int64
	begun := time.Now()
	err := each(goroutines, func() error {
		for time.Since(begun) < period {
			if err := do(); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return n.Load(), time.Since(begun), err
}

// each runs do in some goroutines and returns their errors.
func each(goroutines int, do func() error) error {
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = do() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sortedCopy returns the values in ascending order.
func sortedCopy(values []float64) []float64 { return slices.Sorted(slices.Values(values)) }
