//go:build long && unix

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/config"
)

// A frozenFixture has a RabbitMQ that only this test uses, an App that serves adder and runs tasks, and a client.
type frozenFixture struct {
	*testing.T
	rabbit         *devstack.Server
	server, client *af.App
	queue          af.Queue[int, int]
	worker         *seenWorker
}

func newFrozenFixture(t *testing.T) *frozenFixture {
	rabbit := devstack.Start(t, devstack.RabbitMQ)
	f := newBrokerFixture(t, rabbit.URI, rabbit.URI, false)
	f.rabbit = rabbit
	return f
}

// newBrokerFixture opens the Apps on the URIs of a broker.
func newBrokerFixture(t *testing.T, server, client string, quorum bool) *frozenFixture {
	f := &frozenFixture{T: t, worker: &seenWorker{ran: map[int]int{}}}
	mongo, redis := devstack.Mongo(t), devstack.Redis(t)
	at := func(uri string) config.Config {
		return parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q, quorum: %v}\n", mongo, redis,
			uri, quorum))
	}
	w := af.Worker{Name: "frozen", Type: "Frozen", Max: 10, Backoff: time.Second}
	f.server = open(t, at(server), func(app *af.App) {
		af.RegisterWorker(app, w, f.worker)
		serveAdder(app)
	})
	f.client = open(t, at(client), nil)
	f.queue = af.NewQueue[int, int](f.client, w)
	f.callsSucceed()
	return f
}

func (f *frozenFixture) call(ctx context.Context) error {
	_, err := addMethod.Call(ctx, af.NewClient(f.client), args{1, 2})
	return err
}

func (f *frozenFixture) callsSucceed() {
	f.Helper()
	testkit.Succeeds(f, "a call", func() error { return f.call(f.Context()) })
}

func (f *frozenFixture) do(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// submitUntil submits tasks with payloads 0, 1, … from 4 goroutines until ctx ends, and keeps at most 200 unfinished.
// It returns how many it has submitted.
func (f *frozenFixture) submitUntil(ctx context.Context) func() int {
	var next, accepted atomic.Int64
	var submitters sync.WaitGroup
	for range 4 {
		submitters.Go(func() {
			for ctx.Err() == nil {
				if int(accepted.Load())-f.worker.count() > 200 {
					time.Sleep(time.Millisecond)
					continue
				}
				if _, err := f.queue.Submit(f.Context(), int(next.Add(1))-1); err != nil {
					f.Error(err)
					return
				}
				accepted.Add(1)
			}
		})
	}
	return func() int { submitters.Wait(); return int(accepted.Load()) }
}

// count returns the number of runs.
func (s *seenWorker) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.ran {
		n += times
	}
	return n
}

// While RabbitMQ is frozen, tasks are run at the pace of polling. Calls fail after 3 to 4 s, and at once from then on.
// Nothing is lost or runs twice, and a thaw restores everything.
func TestLongFrozenRabbitMQ(t *testing.T) {
	f := newFrozenFixture(t)
	ctx, stop := context.WithCancel(t.Context())
	accepted := f.submitUntil(ctx)
	const phase = 10 * time.Second
	time.Sleep(2 * time.Second) // until the pace is steady
	start := f.worker.count()
	time.Sleep(phase)
	before := f.worker.count() - start

	f.do(f.rabbit.Freeze())
	frozen := time.Now()
	start = f.worker.count()
	first := make(chan error, 1)
	go func() { first <- f.call(t.Context()) }()
	var noticed time.Duration
	var atOnce []time.Duration
	for time.Since(frozen) < phase {
		switch degraded := slices.Contains(f.client.Health().Degraded, "without-rabbitmq"); {
		case degraded && noticed == 0:
			noticed = time.Since(frozen)
		case degraded:
			begun := time.Now()
			err := f.call(t.Context())
			atOnce = append(atOnce, time.Since(begun))
			e, ok := errors.AsType[*af.Error](err)
			if !ok || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent {
				t.Errorf("a call: %v", err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	during := f.worker.count() - start
	f.do(f.rabbit.Thaw())
	thawed := time.Now()
	f.callsSucceed()
	t.Logf("noticed after %v; %d tasks in %v before, %d frozen (%.0f %%); calls succeed %v after the thaw; %d calls failed "+
		"at once, within %v", noticed, before, phase, during, 100*float64(during)/float64(before), time.Since(thawed),
		len(atOnce), slices.Max(append(atOnce, 0)))
	if noticed < 3*time.Second || noticed > 6*time.Second {
		t.Errorf("noticed after %v", noticed)
	}
	if e, ok := errors.AsType[*af.Error](<-first); !ok || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeUnknown {
		t.Errorf("the call under way: %v", e)
	}
	if during < before/4 { // the machine may be loaded unevenly
		t.Errorf("%d tasks while frozen, %d before", during, before)
	}
	testkit.Succeeds(t, "its health", func() error {
		if h := f.client.Health(); len(h.Degraded) > 0 {
			return fmt.Errorf("%+v", h.Conditions)
		}
		return nil
	})
	stop()
	f.ranOnce(accepted())
}

// ranOnce checks that the first n payloads run once each.
func (f *frozenFixture) ranOnce(n int) {
	f.Helper()
	testkit.Eventually(f, "all tasks have run", func() bool { return f.worker.count() >= n })
	f.worker.mu.Lock()
	defer f.worker.mu.Unlock()
	for payload := range n {
		if times := f.worker.ran[payload]; times != 1 {
			f.Errorf("payload %d ran %d times", payload, times)
		}
	}
}

// callFor calls from 8 goroutines until ctx ends. No call may fail.
func (f *frozenFixture) callFor(ctx context.Context) (wait func()) {
	var callers sync.WaitGroup
	var calls atomic.Int64
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := f.call(f.Context()); err != nil {
					f.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	return func() {
		callers.Wait()
		f.Logf("%d calls", calls.Load())
	}
}

// Pauses of 2 s refuse no call: the broker may be busy with something else.
func TestLongPausesOfRabbitMQFailNoCalls(t *testing.T) {
	f := newFrozenFixture(t)
	ctx, stop := context.WithCancel(t.Context())
	wait := f.callFor(ctx)
	for range 3 {
		time.Sleep(8 * time.Second)
		f.do(f.rabbit.Freeze())
		time.Sleep(2 * time.Second)
		f.do(f.rabbit.Thaw())
	}
	stop()
	wait()
}

// A broker that is busy with messages of others refuses no call.
func TestLongHeavyPublishingFailsNoCalls(t *testing.T) {
	f := newFrozenFixture(t)
	ctx, stop := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	var published atomic.Int64
	for i := range 4 {
		conn := must(amqp091.Dial(f.rabbit.URI))(t)
		ch := must(conn.Channel())(t)
		q := must(ch.QueueDeclare(fmt.Sprint("heavy", i), true, false, false, false,
			amqp091.Table{"x-max-length": int32(200)}))(t)
		publishers.Go(func() {
			defer conn.Close()
			body := []byte(strings.Repeat("x", 64<<10))
			for ctx.Err() == nil {
				if err := ch.Publish("", q.Name, false, false,
					amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: body}); err != nil {
					t.Error(err)
					return
				}
				published.Add(1)
			}
		})
	}
	wait := f.callFor(ctx)
	time.Sleep(20 * time.Second)
	stop()
	publishers.Wait()
	t.Logf("%d messages of 64 KiB were published meanwhile", published.Load())
	wait()
}

// During a memory alarm the broker doesn't count as silent, however long it lasts. Calls succeed as soon as it ends.
func TestLongMemoryAlarmIsNotSilence(t *testing.T) {
	f := newFrozenFixture(t)
	f.do(f.rabbit.Ctl("set_vm_memory_high_watermark", "0.0001"))
	testkit.Eventually(t, "calls fail", func() bool { return f.call(t.Context()) != nil })
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err := f.call(t.Context())
		if !errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), "memory or disk") {
			t.Fatal(err)
		}
	}
	id := must(f.queue.Submit(t.Context(), 1))(t)
	must(f.queue.Wait(t.Context(), id))(t)
	f.do(f.rabbit.Ctl("set_vm_memory_high_watermark", "0.4"))
	f.callsSucceed()
}
