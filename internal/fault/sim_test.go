package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/workload"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An order is a payload: what its handler does.
type order struct {
	Do   string        `json:"do,omitempty"`
	N    int           `json:"n,omitempty"`   // how often, if Do happens only some times
	For  time.Duration `json:"for,omitempty"` // how long it works before
	Kids []family      `json:"kids,omitempty"`

	Strict bool            `json:"strict,omitempty"` // only workers of the submitter's version decode it
	Ver    json.RawMessage `json:"ver,omitempty"`
}

// A family is one call to Subtasks.
type family struct {
	Queue  int              `json:"queue"`
	Orders []order          `json:"orders"`
	Now    bool             `json:"now,omitempty"`
	Policy af.FailurePolicy `json:"policy,omitempty"`
	Batch  string           `json:"batch,omitempty"`
}

func (f family) options() []af.SubtaskOption {
	opts := []af.SubtaskOption{af.OnFailure(f.Policy)}
	if f.Now {
		opts = append(opts, af.RunNow())
	}
	if f.Batch != "" {
		// A key identifies one content: under the same key, more subtasks than before are a further commit.
		opts = append(opts, af.Batch(fmt.Sprintf("%s-%d", f.Batch, len(f.Orders))))
	}
	return opts
}

// workers are the queues of the simulation. The last one has no SubtasksDone.
var workers = []af.Worker{
	{Name: "a", Type: "Alpha", Max: 3, Retries: 2, Backoff: 200 * time.Millisecond, Weight: 1, Payload: "order"},
	{Name: "b", Type: "Beta", Max: 1, Retries: 1, Backoff: time.Second, Weight: 1,
		Timeout: 8 * time.Second, Payload: "order"},
	{Name: "c", Type: "Gamma", Max: 2, Backoff: time.Second, Weight: 1, Payload: "order"},
}

func limits(queue string) fault.Limits {
	for _, w := range workers {
		if w.Name == queue {
			return fault.Limits{Retries: w.Retries, MaxCrashes: 3}
		}
	}
	return fault.Limits{}
}

// A process is one App with its faults.
type process struct {
	seen    observer // its instrument
	sim     *sim
	place   int
	version int // of its workers' payloads
	name    string
	fault   *fault.Backend
	app     *af.App
	queues  []af.Queue[order, int]

	mu     sync.Mutex
	inside map[string]int // running handlers by queue
	gone   time.Time      // when it was shut down or crashed
}

// plain has the handlers of a worker of any version.
type plain struct {
	p *process
	w af.Worker
}

func (h *plain) done(ctx context.Context, s af.Subtasks) (err error) {
	r := af.TaskFrom(ctx)
	defer h.p.sim.book.begin(ctx, h.p)(&err)
	h.p.sim.book.done(h.p.sim.life(r.ID), [4]int{s.Total, s.Succeeded, s.Failed, s.Stopped})
	return nil
}

func (h *plain) run(ctx context.Context, o order) (_ int, err error) {
	h.p.enter(h.w)
	defer h.p.leave(h.w)
	r := af.TaskFrom(ctx)
	defer h.p.sim.book.begin(ctx, h.p)(&err)
	run := h.p.sim.book.run(h.p.sim.life(r.ID))
	for _, f := range o.Kids {
		h.p.pause()
		if _, err := h.p.subtasks(ctx, r.ID, f); err != nil && ctx.Err() != nil {
			return 0, err
		} else if err != nil && af.CodeOf(err) != af.ErrFailedPrecondition {
			return 0, af.Snooze(time.Second) // the store is unavailable: once more with the same batches
		}
	}
	if o.Do == "ignore" {
		h.p.sleep(context.Background(), o.For)
	} else if !h.p.sleep(ctx, o.For) {
		return 0, context.Cause(ctx)
	}
	if h.p.dead() {
		return 0, errors.New("dead")
	}
	switch {
	case run > o.N && o.N > 0:
	case o.Do == "fail":
		return 0, errors.New("as ordered")
	case o.Do == "kill":
		h.p.sim.died(h.p)
		return 0, errors.New("dead")
	case o.Do == "permanent":
		return 0, af.Permanent(af.ErrOutOfRange)
	case o.Do == "snooze":
		return 0, af.Snooze(time.Duration(run) * time.Second)
	case o.Do == "panic":
		panic("as ordered")
	case o.Do == "goexit":
		runtime.Goexit()
	}
	return run, nil
}

// subtasks spawns a family.
func (p *process) subtasks(ctx context.Context, source string, f family) ([]string, error) {
	ids, err := p.queues[f.Queue].Subtasks(ctx, source, p.ordered(f.Orders), f.options()...)
	p.sim.book.acked(ids, err)
	return ids, err
}

func (p *process) enter(w af.Worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inside[w.Name]++; p.inside[w.Name] > w.Max && !p.dead() {
		p.sim.book.violated("I8: %s runs %d tasks of %s", p.name, p.inside[w.Name], w.Name)
	}
}

func (p *process) leave(w af.Worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside[w.Name]--
}

// pause blocks while the process is frozen.
func (p *process) pause() { p.fault.Pause() }

// ended reports whether the process was shutting down at that time.
func (p *process) ended(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone.IsZero() && !at.Before(p.gone)
}

func (p *process) dead() bool {
	select {
	case <-p.fault.Dead():
		return true
	default:
		return false
	}
}

// sleep works for d, and reports whether it wasn't cancelled.
func (p *process) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-p.fault.Dead():
	}
	p.pause()
	return ctx.Err() == nil
}

// A book has what the simulation itself has seen: acknowledged submits and handlers that ran.
type book struct {
	mu      sync.Mutex
	acks    workload.Acks
	runs    map[string]int
	dones   map[string][][4]int        // by the id of the done task
	claims  map[string]*visit          // by id#fence
	inside  map[string]map[*visit]bool // by the id of the task
	broken  []string
	refused int

	silences []silence
}

func (b *book) acked(ids []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.refused++
		return
	}
	b.acks.Add(ids...)
}

// A visit is one run of a task's handler.
type visit struct {
	p     *process
	ctx   context.Context
	fence int64

	err, cause error // of the handler, and of its context when it returned
	dead       bool  // whether the process was dead
}

// begin records that a handler runs, until the returned function is called. It checks that no claim runs a handler
// twice, and that a task never has two live contexts at once in live processes.
func (b *book) begin(ctx context.Context, p *process) (end func(*error)) {
	r := af.TaskFrom(ctx)
	v := &visit{p: p, ctx: ctx, fence: r.Fence}
	life := p.sim.life(r.ID)
	b.mu.Lock()
	defer b.mu.Unlock()
	claim := claimOf(life, r.Fence)
	if b.claims[claim] != nil && !p.dead() {
		b.broken = append(b.broken, fmt.Sprintf("claim %s runs its handler twice", claim))
	}
	b.claims[claim] = v
	for other := range b.inside[r.ID] {
		if other.ctx.Err() == nil && ctx.Err() == nil && !other.p.dead() && !p.dead() {
			b.broken = append(b.broken,
				fmt.Sprintf("task %s runs in %s with fence %d and in %s with fence %d, and neither context has ended",
					r.ID, other.p.name, other.fence, p.name, v.fence))
		}
	}
	if b.inside[r.ID] == nil {
		b.inside[r.ID] = map[*visit]bool{}
	}
	b.inside[r.ID][v] = true
	return func(err *error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.inside[r.ID], v)
		v.err, v.dead = *err, p.dead()
		v.cause = context.Cause(ctx)
	}
}

// life distinguishes a task from others that had its id.
func (m *sim) life(id string) string { return lifeOf(id, m.world.Births(id)) }

func lifeOf(id string, births int) string { return id + "~" + strconv.Itoa(births) }

func claimOf(life string, fence int64) string { return life + "#" + strconv.FormatInt(fence, 10) }

// released reports whether a claim may have been released uncharged. Its handler never began, or snoozed, or its
// context had ended because the process was shutting down or might have been declared dead.
func (v *visit) released(at time.Time) bool {
	if v == nil || v.dead || v.p.ended(at) { // a process that shut down during an outage could not write its results
		return true
	}
	snoozed := v.err != nil && strings.HasPrefix(v.err.Error(), "snoozed for ")
	return snoozed || errors.Is(v.cause, af.ErrLeaseLost) || af.CodeOf(v.cause) == af.ErrUnavailable
}

func (b *book) run(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[id]++
	return b.runs[id]
}

func (b *book) done(id string, counts [4]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dones[id] = append(b.dones[id], counts)
}

func (b *book) violated(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = append(b.broken, fmt.Sprintf(format, args...))
}

// A sim is a running scenario.
type sim struct {
	s     scenario
	world *fault.World
	book  *book
	calm  chan struct{} // closed when the storm ends
	after sync.WaitGroup

	reborn sync.WaitGroup // processes that replace those that died by themselves

	mu    sync.Mutex
	slots []*process // the process in each place of the fleet, or nil. The last place is empty during the storm
	all   []*process
	debug io.Writer
}

func newSim(s scenario) *sim {
	var opts []memory.Option
	if s.IDs {
		opts = append(opts, memory.HintIDs(64))
	}
	m := &sim{
		s: s, world: fault.Around(memory.New(opts...)), calm: make(chan struct{}),
		slots: make([]*process, s.Workers+s.Clients+1),
		book: &book{runs: map[string]int{}, dones: map[string][][4]int{}, claims: map[string]*visit{},
			inside: map[string]map[*visit]bool{}},
	}
	if os.Getenv("FAULT_LOG") != "" {
		m.debug = os.Stderr
	}
	return m
}

// boot starts a process in a place of the fleet, and retries until it has started.
func (m *sim) boot(place int) {
	for try := 0; ; try++ {
		m.mu.Lock()
		n := len(m.all)
		plan := m.s.Plan
		select {
		case <-m.calm:
			plan = fault.Plan{}
		default:
		}
		// The clocks of two processes may be 2 % apart from true time, in opposite directions.
		plan.ClockRate = []float64{0.98, 1.02, 1}[(m.s.Seed+uint64(n))%3]
		p := &process{
			place: place, sim: m, name: fmt.Sprintf("p%d.%d", place, n), inside: map[string]int{},
			fault: fault.New(m.world, m.s.Seed*1000+uint64(n), plan),
		}
		if last := place == m.s.Workers+m.s.Clients; last {
			p.version = 2
		} else if m.s.Mixed {
			p.version = place % 2
		}
		m.all = append(m.all, p)
		m.mu.Unlock()
		if p.start(place < m.s.Workers || p.version == 2) {
			m.mu.Lock()
			m.slots[place] = p
			m.mu.Unlock()
			return
		}
		time.Sleep(time.Second)
	}
}

func (p *process) start(works bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	if w := p.sim.debug; w != nil {
		log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})).With("p", p.name)
	}
	opts := []af.AppOption{af.Logger(log), af.IP("192.0.2.1"), af.Instrument(&p.seen), af.NodeFacts(noNode)}
	if keep := p.sim.s.Keep; keep > 0 {
		opts = append(opts, af.Retention(keep, 0))
	}
	var b backend.Backend = p.fault
	if p.sim.s.Grouped {
		b = memory.Grouped(b)
	}
	app, err := af.Open(ctx, b, opts...)
	if err != nil {
		return false
	}
	p.app = app
	for _, w := range p.workers() {
		p.queues = append(p.queues, af.NewQueue[order, int](app, w))
	}
	switch {
	case !works:
	case p.version == 0:
		register[orderA](p)
	case p.version == 1:
		register[orderB](p)
	default:
		register[orderC](p)
	}
	if err := app.Start(ctx); err != nil {
		p.end(10 * time.Second)
		return false
	}
	return true
}

// end shuts a process down gracefully.
func (p *process) end(drain time.Duration) error {
	p.mu.Lock()
	p.gone = time.Now()
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	return p.app.Shutdown(ctx)
}

// crash kills a process and lets its remaining goroutines end.
func (p *process) crash() {
	p.fault.Crash()
	p.sim.after.Go(func() { _ = p.end(0) })
}

// died kills a process from within, and starts another one in its place a moment later.
func (m *sim) died(p *process) {
	m.mu.Lock()
	if m.slots[p.place] == p {
		m.slots[p.place] = nil
	}
	m.mu.Unlock()
	if p.dead() {
		return
	}
	p.fault.Crash()
	m.reborn.Go(func() {
		_ = p.end(0)
		time.Sleep(500 * time.Millisecond)
		m.boot(p.place)
	})
}

func (m *sim) at(place int) *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.slots[place]
}

// take empties a place.
func (m *sim) take(place int) *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.slots[place]
	m.slots[place] = nil
	return p
}
