// Package fault breaks backends on purpose, to test that the runtime keeps its promises while everything below it
// fails. Package aftest offers some of these faults to users, for tests of their handlers.
//
// # Two layers
//
// A [World] wraps the backend under test and represents the servers that all processes share. Its store can be down
// for all processes, and its [Log] records every operation that changed a task, with its real effect. The log
// contains no statement of the runtime, so [Log.Check] checks what really happened.
//
// A [Backend] wraps the World for one process, an App, and represents that process and its network. It refuses
// requests, loses replies, delays and repeats both as its [Plan] says. It can be crashed, frozen, thawed and
// partitioned.
//
//	world := fault.Around(memory.New())
//	b := fault.New(world, seed, fault.Plan{LoseReply: 0.05})
//	app, err := af.Open(ctx, b)
//	b.Fail("Claim", 1, fault.Hung)
//	…
//	b.Crash()
//
// # Layout
//
// Every method of every port passes one interposer, which implements all faults (pass.go); ports.go only names the
// methods. Hints have additional faults (hints.go).
//
// # Seeds
//
// A Backend draws its faults from its seed, in the order of the calls. The runtime's jitter and the scheduler are not
// seeded, so a seed reproduces a scenario but not each of its steps. The log shows what happened.
//
// All waiting uses package time, so everything works inside testing/synctest.
package fault

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Plan has the probabilities, from 0 to 1, of failures of a process's calls. The zero Plan breaks nothing.
type Plan struct {
	Refuse    float64 // the request does not arrive: unavailable, not sent
	LoseReply float64 // it takes effect, and the caller gets unavailable, outcome unknown
	Repeat    float64 // it is applied twice, sometimes much later
	Delay     float64 // request or reply takes up to MostDelay, whatever the caller's context
	MostDelay time.Duration

	ClockRate float64 // of the monotonic clock that measures other processes' silence; 0 means 1. Only Open reads it

	LoseHint    float64
	RepeatHint  float64
	ShuffleHint float64 // hints sent together arrive reordered or later than others
}

// A Failure is a given failure of one call.
type Failure int

// Failures for Fail.
const (
	None      Failure = iota // the call succeeds
	Refused                  // like Plan.Refuse
	ReplyLost                // like Plan.LoseReply
	Hung                     // the request is lost silently: the caller waits until its context ends
	Fatal                    // the process dies instead of making the call, see Crash
)

// A Direction is a direction of a connection.
type Direction int

// Directions of a process's connections to everything else.
const (
	Neither  Direction = 0
	Requests Direction = 1 // no request arrives
	Replies  Direction = 2 // requests take effect, no reply arrives
)

// A Backend is a backend as seen by one process. Its methods are safe for concurrent use.
type Backend struct {
	inner backend.Backend
	calls atomic.Int64

	mu     sync.Mutex
	rand   *rand.Rand
	plan   Plan
	fails  map[string][]Failure // by operation, the next ones first
	thawed chan struct{}        // closed by Thaw; nil while not frozen
	cut    Direction
	line   line
	open   map[*listener]struct{}
	spin   spin

	dead chan struct{} // closed by Crash
	kill sync.Once
}

// New returns a Backend on b for one process. Two Backends with the same seed and plan break the same calls of the
// same sequence.
func New(b backend.Backend, seed uint64, plan Plan) *Backend {
	return &Backend{
		inner: b, plan: plan, rand: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)),
		fails: map[string][]Failure{}, open: map[*listener]struct{}{}, dead: make(chan struct{}),
	}
}

// Open implements [backend.Backend].
func (b *Backend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	var inner *backend.Ports
	var err error
	if w, ok := b.inner.(*World); ok {
		inner, err = w.join(ctx, env, b.dead)
		w.members.Store(env.Instance.ID, b)
	} else {
		inner, err = b.inner.Open(ctx, env)
	}
	if err != nil {
		return nil, err
	}
	ports := wrap(inner, b, b)
	ports.ClockRate = b.plan.ClockRate
	if w, ok := b.inner.(*World); ok && ports.Transport.Ids() {
		ports.Transport = seeingTransport{ports.Transport, b, w}
	}
	return ports, nil
}

// Calls returns how many calls to the store and the documents, and other requests, the process has made.
func (b *Backend) Calls() int64 { return b.calls.Load() }

// SetPlan replaces the plan.
func (b *Backend) SetPlan(p Plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan = p
}

// Fail makes the next n calls of an operation, a port's method, fail in this way, whatever the plan. n = 0 cancels
// that.
func (b *Backend) Fail(op string, n int, how Failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n == 0 {
		delete(b.fails, op)
	}
	b.fails[op] = append(b.fails[op], slices.Repeat([]Failure{how}, n)...)
}

// Crash is like SIGKILL: from now on every call fails, including pending ones, and none has an effect. Other
// listeners get the process's hints. It is permanent.
func (b *Backend) Crash() {
	b.kill.Do(func() {
		close(b.dead)
		b.mu.Lock()
		open := b.listening()
		b.open = map[*listener]struct{}{}
		b.mu.Unlock()
		for _, in := range open {
			_ = in.Close() // a connection that breaks
		}
	})
}

// Dead is closed once the process has crashed.
func (b *Backend) Dead() <-chan struct{} { return b.dead }

// Freeze is like SIGSTOP: calls hang until Thaw, whatever their contexts. Calls in flight take effect, and their
// replies wait.
func (b *Backend) Freeze() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.thawed == nil {
		b.thawed = make(chan struct{})
	}
}

// Thaw is like SIGCONT.
func (b *Backend) Thaw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.thawed != nil {
		close(b.thawed)
		b.thawed = nil
	}
}

// Pause returns once the process is not frozen, or dead. Code that acts for the process calls it between its steps,
// because a goroutine can't be stopped from outside.
func (b *Backend) Pause() {
	for {
		b.mu.Lock()
		thawed := b.thawed
		b.mu.Unlock()
		if thawed == nil {
			return
		}
		select {
		case <-thawed:
		case <-b.dead:
			return
		}
	}
}

// Cut partitions the process, in one direction or both (Requests|Replies). Neither repairs it.
func (b *Backend) Cut(d Direction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = d
	b.line.set(d == Neither, time.Now())
}

// Disconnect closes only the connection with the transport, until Connect. Other listeners get the process's hints,
// other processes see that it is disconnected, and it knows.
func (b *Backend) Disconnect() {
	b.mu.Lock()
	b.line.closed = true
	open := b.listening()
	b.mu.Unlock()
	for _, in := range open {
		_ = in.Close()
	}
}

// listening returns the open listeners. The caller holds b.mu.
func (b *Backend) listening() (open []backend.Listener) {
	for l := range b.open {
		open = append(open, l.in)
	}
	return open
}

// Connect undoes Disconnect and opens the listeners again.
func (b *Backend) Connect() {
	b.mu.Lock()
	b.line.closed = false
	b.line.since = time.Now()
	open := slices.Collect(maps.Keys(b.open))
	b.mu.Unlock()
	for _, l := range open {
		l.reopen()
	}
}
