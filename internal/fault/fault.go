// Package fault breaks backends on purpose, so that tests can hold the runtime to its promises while everything under it
// fails.
//
// # Two layers
//
// A [World] goes around the backend that is under test and stands for the servers, which all processes share: its store
// can be down for everybody, and its [Log] records every operation that changed a task, with the effect that it really
// had. Nothing that the runtime says of itself goes into the log, so [Log.Check] goes by what has happened.
//
// A [Backend] goes around the World for one process, an App, and stands for that process and its network: requests are
// refused, replies lost, both delayed and repeated as its [Plan] says; it can be crashed, frozen, thawed and cut off.
//
//	world := fault.Around(memory.New())
//	b := fault.New(world, seed, fault.Plan{LoseReply: 0.05})
//	app, err := af.Open(ctx, b)
//	b.Fail("Claim", 1, fault.Hung)
//	…
//	b.Crash()
//
// # What goes where
//
// Every method of every port passes one interposer (pass.go): ports.go only names the methods, so that what a fault is
// stands in one place for all. Hints have faults of their own (hints.go).
//
// # What a seed fixes
//
// A Backend draws its faults from its seed, in the order of the calls. The runtime's own jitter and the scheduler are
// not seeded, so a seed reproduces a scenario and not each of its steps: the log tells what happened.
//
// All waiting is package time's: everything here works inside testing/synctest.
package fault

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Plan says how often a process's calls fail, as probabilities from 0 to 1. The zero Plan breaks nothing.
type Plan struct {
	Refuse    float64 // the request does not arrive: unavailable, not sent
	LoseReply float64 // it has its effect, and the caller gets unavailable, outcome unknown
	Repeat    float64 // it is applied twice, sometimes much later
	Delay     float64 // request or reply takes up to MostDelay, whatever the caller's context says
	MostDelay time.Duration

	ClockRate float64 // of its monotonic clock, in what the runtime measures others' silence by; 0 is 1. Only Open reads it

	LoseHint    float64
	RepeatHint  float64
	ShuffleHint float64 // hints sent together arrive in another order, or later than others
}

// A Failure is what one call meets, where it is not left to chance.
type Failure int

// The failures that Fail knows.
const (
	Refused   Failure = 1 + iota // as Plan.Refuse
	ReplyLost                    // as Plan.LoseReply
	Hung                         // the request does not arrive, and nobody says so: the caller waits as long as its context lets it
)

// A Direction is one way of a connection.
type Direction int

// The directions of a process's connection to everything else.
const (
	Neither  Direction = 0
	Requests Direction = 1 // no request arrives
	Replies  Direction = 2 // requests have their effects, no reply arrives
)

// A Backend is what one process sees of a backend. Its methods are safe for concurrent use.
type Backend struct {
	inner backend.Backend

	mu     sync.Mutex
	rand   *rand.Rand
	plan   Plan
	fails  map[string][]Failure // by operation, the next ones first
	thawed chan struct{}        // closed by Thaw; nil while not frozen
	cut    Direction
	line   line
	open   map[*listener]struct{}

	dead chan struct{} // closed by Crash
	kill sync.Once
}

// New returns a view of b for one process. Two with the same seed and plan that see the same calls break the same ones.
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

// SetPlan changes how often calls fail from now on.
func (b *Backend) SetPlan(p Plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan = p
}

// Fail lets the next n calls of one operation, a port's method, fail in this way, whatever the plan says. 0 ends that.
func (b *Backend) Fail(op string, n int, how Failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n == 0 {
		delete(b.fails, op)
	}
	b.fails[op] = append(b.fails[op], slices.Repeat([]Failure{how}, n)...)
}

// Crash is SIGKILL: every call fails from now on, those that hang too, and none has an effect any more. What the process
// listened to goes to others. There is no way back.
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

// Freeze is SIGSTOP: calls hang until Thaw, whatever their contexts say; what is under way takes effect, and its reply
// waits.
func (b *Backend) Freeze() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.thawed == nil {
		b.thawed = make(chan struct{})
	}
}

// Thaw is SIGCONT.
func (b *Backend) Thaw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.thawed != nil {
		close(b.thawed)
		b.thawed = nil
	}
}

// Pause returns once the process is not frozen, or dead: code that stands for the process's own calls it between its
// steps, since there is no stopping a goroutine from outside.
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

// Cut cuts the process off, in one direction or (Requests|Replies) both; Neither mends it.
func (b *Backend) Cut(d Direction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = d
	b.line.set(d == Neither, time.Now())
}

// Disconnect closes the connection with the transport, and nothing else, until Connect: what the process listened to goes to
// others, who see that it is not connected, and it knows.
func (b *Backend) Disconnect() {
	b.mu.Lock()
	b.line.closed = true
	open := b.listening()
	b.mu.Unlock()
	for _, in := range open {
		_ = in.Close()
	}
}

// listening returns the listeners that are open. b.mu is held.
func (b *Backend) listening() (open []backend.Listener) {
	for l := range b.open {
		open = append(open, l.in)
	}
	return open
}

// Connect ends what Disconnect has begun, and opens the listeners again.
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
