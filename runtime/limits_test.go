package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// applied returns the state of app's worker of the queue job.
func applied(t *testing.T, app *af.App) af.WorkerInfo {
	t.Helper()
	page := must(app.Workers(t.Context(), af.WorkerQuery{Queue: "job", Instance: app.Instance().ID}))(t)
	if len(page.Workers) != 1 {
		t.Fatalf("workers %+v", page)
	}
	return page.Workers[0]
}

// A lower limit is not applied, or reported as applied, while a claim for more slots is in flight.
func TestLimitIsAppliedBetweenClaims(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var running, begun atomic.Int32
		app, q := work(t, slow(memory.New(), "job"), jobWorker, func(context.Context, int) (int, error) {
			running.Add(1)
			begun.Add(1)
			time.Sleep(10 * time.Second)
			running.Add(-1)
			return 0, nil
		})
		time.Sleep(3 * time.Second)
		ids := must(q.SubmitMany(t.Context(), make([]int, 8)))(t)
		time.Sleep(500 * time.Millisecond) // a claim for four slots is in flight
		if err := app.UpdateMaxWorkers(t.Context(), "job", "", 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w := applied(t, app); w.Wanted != 1 || w.Applied != 4 || w.AppliedRevision == w.WantedRevision {
			t.Errorf("while the claim is in flight: %+v", w)
		}
		time.Sleep(time.Second)
		if w := applied(t, app); w.Applied != 1 || w.AppliedRevision != w.WantedRevision || w.Running != 4 ||
			running.Load() != 4 {
			t.Errorf("afterwards: %+v, %d running", w, running.Load())
		}
		time.Sleep(10 * time.Second)
		for begun.Load() < 8 {
			if n := running.Load(); n > 1 {
				t.Fatalf("%d at once", n)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, id := range ids {
			must(q.Wait(t.Context(), id))(t)
		}
	})
}

func TestWithoutCoordinatorLimitsArePolled(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := degrade()
		app, _ := work(t, d, jobWorker, same)
		elsewhere := openStarted(t, d)
		time.Sleep(time.Minute)
		d.noCoordinator.Store(true)
		for n := range 10 {
			if err := elsewhere.UpdateMaxWorkers(t.Context(), "job", "192.0.2.1", n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if w := applied(t, app); w.Applied != n {
				t.Errorf("the limit after 5 s is %d, want %d", w.Applied, n)
			}
		}
		d.noCoordinator.Store(false)
		time.Sleep(5 * time.Second)
		if err := elsewhere.UpdateMaxWorkers(t.Context(), "job", "", 3); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w := applied(t, app); w.Applied != 3 {
			t.Errorf("events have no effect again: %+v", w)
		}
	})
}

// unreadable is a backend whose documents can't be read while down is set.
func unreadable(b af.Backend, down *atomic.Bool) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Docs = unreadableDocs{p.Docs, down} }}
}

type unreadableDocs struct {
	backend.Docs
	down *atomic.Bool
}

func (d unreadableDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	if d.down.Load() {
		return nil, errDown
	}
	return d.Docs.List(ctx, prefix)
}

func TestNoClaimBeforeLimitsAreKnown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		client := openStarted(t, world)
		if err := client.UpdateMaxWorkers(t.Context(), "job", "", 0, af.Create()); err != nil {
			t.Fatal(err)
		}
		must(af.NewQueue[int, int](client, jobWorker).Submit(t.Context(), 1))(t)
		var down atomic.Bool
		down.Store(true)
		var ran atomic.Int32
		app, _ := work(t, unreadable(world, &down), jobWorker,
			func(context.Context, int) (int, error) { ran.Add(1); return 0, nil })
		time.Sleep(time.Minute)
		down.Store(false)
		time.Sleep(time.Second)
		if ran.Load() > 0 {
			t.Error("a task has run before the limits were known")
		}
		if err := client.ResetMaxWorkers(t.Context(), "job", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if ran.Load() != 1 {
			t.Errorf("%d tasks have run, worker %+v", ran.Load(), applied(t, app))
		}
	})
}

// Hints for tasks that an instance may no longer run go to other instances at once, also those that are on their way
// to it while its window changes.
func TestInstanceWithoutSlotsReturnsHints(t *testing.T) {
	for _, slow := range []bool{false, true} {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("slow listener %t, other instance waits %t", slow, waits), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) { instanceWithoutSlotsReturnsHints(t, slow, waits) })
			})
		}
	}
}

func instanceWithoutSlotsReturnsHints(t *testing.T, slow, waits bool) {
	world := memory.New(memory.HintIDs(4096))
	w := jobWorker
	w.Max = 1
	goOn := make(chan struct{})
	var b af.Backend = world
	if slow {
		b = altered{world, func(p *backend.Ports) { p.Transport = slowListeners{p.Transport} }}
	}
	first, q := work(t, b, w, func(context.Context, int) (int, error) { <-goOn; return 0, nil })
	synctest.Wait() // else the dispatcher's first run sends hints for some of the tasks, and later runs for no more
	var ids []string
	for range 60 {
		ids = append(ids, must(q.Store(t.Context(), 1))(t))
	}
	time.Sleep(2 * time.Second) // the dispatcher has sent a hint for each, and sends them again after 5 s
	start := func() {
		follows := altered{world, func(p *backend.Ports) { p.Store = withoutPolls{p.Store} }}
		work(t, follows, w, func(context.Context, int) (int, error) { return 0, nil }, af.IP("192.0.2.2"))
	}
	left := func() (n int) {
		synctest.Wait()
		for _, id := range ids {
			if s := must(first.TaskStatus(t.Context(), id))(t); !s.Final() {
				n++
			}
		}
		return n
	}
	if waits {
		start()
	}
	if n := left(); n != 60 {
		t.Errorf("%d tasks are left: some hints were not held", n)
	}
	if slow {
		ids = append(ids, must(q.Submit(t.Context(), 1))(t))
		synctest.Wait() // its hint is on its way
	}
	if err := first.UpdateMaxWorkers(t.Context(), "job", "192.0.2.1", 0); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if slow {
		time.Sleep(4 * slowness)
	}
	if !waits {
		start()
	}
	if n := left(); n != 1 {
		t.Errorf("%d tasks are left, want the one that runs", n)
	}
	close(goOn)
	synctest.Wait()
	if n := left(); n != 0 {
		t.Errorf("%d tasks are left in the end", n)
	}
}

// slowListeners is a transport with listeners that need slowness to deliver hints and to change their window.
type slowListeners struct{ backend.Transport }

const slowness = 10 * time.Millisecond

func (s slowListeners) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	l, err := s.Transport.Listen(ctx, queue, window)
	return slowListener{l}, err
}

type slowListener struct{ backend.Listener }

func (l slowListener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	hints, err := l.Listener.Next(ctx, max)
	time.Sleep(slowness)
	return hints, err
}

func (l slowListener) Resize(ctx context.Context, window int) error {
	time.Sleep(slowness / 2)
	return l.Listener.Resize(ctx, window)
}

// withoutPolls is a store in which only hinted tasks are claimed.
type withoutPolls struct{ backend.Store }

func (s withoutPolls) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if len(c.IDs) == 0 {
		return nil, 0, nil
	}
	return s.Store.Claim(ctx, c)
}

func TestInvalidLimitsAreRejected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := openStarted(t, memory.New())
		wantError(t, app.UpdateMaxWorkers(t.Context(), "job", "", -1), af.ErrInvalidArgument, af.OutcomeNotSent,
			"max workers -1 out of range")
		wantError(t, app.UpdateMaxWorkers(t.Context(), "", "", 1), af.ErrInvalidArgument, af.OutcomeNotSent,
			"must not be empty")
		wantError(t, app.PauseQueue(t.Context(), strings.Repeat("x", 256)), af.ErrInvalidArgument, af.OutcomeNotSent,
			"exceed 255 bytes")
		if l := must(app.QueueLimits(t.Context(), "job"))(t); l.Revision != 0 || l.Max != nil || l.Paused || l.At != nil {
			t.Errorf("limits %+v", l)
		}
	})
}

// announcements counts the announcements of all Apps on a backend.
type announcements struct {
	mu      sync.Mutex
	counts  map[string]int // by kind
	largest int
}

type countingCoordinator struct {
	backend.Coordinator
	all *announcements
}

func (c countingCoordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	c.all.mu.Lock()
	c.all.counts[kind]++
	c.all.largest = max(c.all.largest, len(facts))
	c.all.mu.Unlock()
	return c.Coordinator.Announce(ctx, kind, name, facts)
}

func TestAnnouncementsAreFewAndSmall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := announcements{counts: map[string]int{}}
		app := open(t, altered{memory.New(),
			func(p *backend.Ports) { p.Coordinator = countingCoordinator{p.Coordinator, &c} }})
		for i := range 5 {
			af.RegisterService(app, af.Service{Name: "s" + string(rune('a'+i)), Type: "S", Concurrency: 4}, &calc{},
				manyMethods(50)...)
		}
		af.RegisterWorker(app, jobWorker, &job{same})
		start(t, app)
		since := func(kind string) int {
			c.mu.Lock()
			defer c.mu.Unlock()
			n := c.counts[kind]
			c.counts[kind] = 0
			return n
		}
		since("instance")
		since("worker/job")
		time.Sleep(time.Minute)
		if i, w := since("instance"), since("worker/job"); i < 10 || i > 15 || w < 10 || w > 15 {
			t.Errorf("an idle App sent %d announcements in a minute, and %d of its queue", i, w)
		}
		q := af.NewQueue[int, int](app, jobWorker)
		for n := range 600 {
			if err := app.UpdateMaxWorkers(t.Context(), "job", "", n); err != nil {
				t.Fatal(err)
			}
			must(q.Submit(t.Context(), n))(t)
			time.Sleep(100 * time.Millisecond)
		}
		if i := since("instance"); i > 310 {
			t.Errorf("an App sent %d announcements in a minute of changing limits", i)
		}
		page := must(app.Services(t.Context(), af.ServiceQuery{Limit: 2}))(t)
		if page.Total != 5 || len(page.Services) != 2 || len(page.Services[0].Methods) != 50 {
			t.Errorf("%d services, %d of them with %d methods", page.Total, len(page.Services), len(page.Services[0].Methods))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.largest > 2048 {
			t.Errorf("the announcement of five services with fifty methods each is %d bytes", c.largest)
		}
	})
}

// manyMethods returns n methods of calc with long signatures.
func manyMethods(n int) []af.Binding[calc] {
	var all []af.Binding[calc]
	for i := range n {
		m := &af.Method[calcArgs, calcReply]{
			Name: "M" + strings.Repeat("m", i), Fingerprint: "f",
			Signature: "(" + strings.Repeat("x int, ", 20) + ") (int, error)",
		}
		all = append(all, af.Bind(m, func(ctx context.Context, c *calc, a calcArgs) (r calcReply, err error) {
			return r, nil
		}))
	}
	return all
}
