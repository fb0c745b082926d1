package aftest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A Cluster is a system of processes on one memory backend, in virtual time, with faults that the test chooses. It
// shows what handlers do when the promises of tasks matter: a task runs at least once, and may run again after its
// effect.
//
// [RunCluster] and [Seeds] create one. [Cluster.Start] starts a process, which is an App. A process that crashes is
// started again a second later, as by a supervisor. The test submits and waits through [Cluster.Client], an App that
// does not crash.
//
// A fault is one of a process ([Process.Crash], [Process.LoseResult], [Process.Partition], [Process.Restart]), of the
// store ([Cluster.StoreDown], [Cluster.SlowStore], [Cluster.LoseReplies]), or a random mixture ([Cluster.Storm]).
//
// If the test fails, it logs each change of a task in the store. The methods are safe for concurrent use, also in
// handlers.
type Cluster struct {
	t     *testing.T
	seed  uint64
	opts  []af.AppOption
	world *fault.World

	client     *af.App
	done       chan struct{}  // closed when the test has ended
	background sync.WaitGroup // watches processes

	mu        sync.Mutex
	rand      *rand.Rand
	plan      fault.Plan
	downUntil time.Time
	processes []*Process
	lives     map[string]*life // by the id of the instance
}

const (
	clusterTimeout = time.Minute // for starting and shutting down an App
	restartAfter   = time.Second
)

// RunCluster calls test in a bubble of virtual time, as [Run] does, with a Cluster that has no process yet. It ends all
// faults and shuts all Apps down afterwards. opts apply to each App.
func RunCluster(t *testing.T, test func(t *testing.T, c *Cluster), opts ...af.AppOption) {
	t.Helper()
	runCluster(t, 1, test, opts)
}

// Seeds calls test with n Clusters, one after the other, in subtests named seed_1 to seed_n. It stops after the first
// one that fails. The seed determines all random choices of a Cluster, so that
//
//	go test -run 'TestReceipts/seed_17$'
//
// repeats a failure. It does not determine the order in which goroutines run or the ids of tasks: a failure that
// depends on these may need several runs (-count).
func Seeds(t *testing.T, n int, test func(t *testing.T, c *Cluster), opts ...af.AppOption) {
	t.Helper()
	for seed := 1; seed <= n; seed++ {
		if !t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) { runCluster(t, uint64(seed), test, opts) }) {
			return
		}
	}
}

func runCluster(t *testing.T, seed uint64, test func(t *testing.T, c *Cluster), opts []af.AppOption) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		var hints []memory.Option
		if seed%2 == 0 { // hints over servers have ids
			hints = append(hints, memory.HintIDs(64))
		}
		c := &Cluster{
			t: t, seed: seed, opts: opts, world: fault.Around(memory.New(hints...)), done: make(chan struct{}),
			rand: rand.New(rand.NewPCG(seed, 0)), lives: map[string]*life{},
		}
		defer c.end()
		var err error
		if c.client, err = c.open("client", fault.New(c.world, 0, fault.Plan{})); err != nil {
			t.Fatal(err)
		}
		if err := c.client.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, c)
	})
}

// open opens an App of the cluster.
func (c *Cluster) open(name string, b *fault.Backend) (*af.App, error) {
	log := slog.New(aliveHandler{slog.NewTextHandler(c.t.Output(), nil), b.Dead()}).With("process", name)
	opts := append([]af.AppOption{af.Logger(log), af.InProcess(), af.IP("192.0.2.1")}, c.opts...)
	return af.Open(context.Background(), b, opts...)
}

// end ends the faults and shuts everything down.
func (c *Cluster) end() {
	close(c.done)
	c.heal()
	c.background.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	for _, p := range c.processes {
		if l := p.life; l != nil {
			if err := l.shutdown(ctx); err != nil && !l.faulty() {
				c.t.Errorf("shutting down %s: %v", p.name, err)
			}
		}
	}
	for _, l := range c.lives {
		l.fault.Crash() // ends requests that are late: time does not advance when the test has returned
	}
	if c.client != nil {
		if err := c.client.Shutdown(ctx); err != nil {
			c.t.Errorf("shutting down the client: %v", err)
		}
	}
	if c.t.Failed() {
		c.t.Log(c.history())
	}
}

// history describes what happened to tasks in the store, and which process made each change.
func (c *Cluster) history() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d; instances by their first letters:", c.seed)
	if c.client != nil {
		fmt.Fprintf(&b, " %.6s client", c.client.Instance().ID)
	}
	for _, id := range slices.SortedFunc(maps.Keys(c.lives), func(a, b string) int {
		return c.lives[a].started.Compare(c.lives[b].started)
	}) {
		fmt.Fprintf(&b, ", %.6s %s", id, c.lives[id].p.name)
	}
	log := c.world.Log()
	var ids []string
	for _, e := range log.Entries {
		for _, change := range e.Changes {
			ids = append(ids, change.After.ID)
		}
	}
	if len(ids) > 0 {
		b.WriteString("\nchanges of tasks in the store, with the fence f, the attempts a and the crashes c:\n")
		b.WriteString(log.String(ids...))
	}
	return b.String()
}

// Seed returns the seed, for random choices of the test.
func (c *Cluster) Seed() uint64 { return c.seed }

// Client returns an App that is not a process of the cluster. It has no workers, and no fault but an outage of the
// store affects it.
func (c *Cluster) Client() *af.App { return c.client }

// Start starts a process with the services and workers that register registers with its App. register is called again,
// on another goroutine and with a new App, each time that the process starts after a crash. Start ends the test if the
// process doesn't start the first time.
func (c *Cluster) Start(register func(app *af.App)) *Process {
	c.t.Helper()
	c.mu.Lock()
	p := &Process{c: c, name: fmt.Sprintf("p%d", len(c.processes)+1), register: register}
	c.processes = append(c.processes, p)
	c.mu.Unlock()
	if err := p.boot(); err != nil {
		c.t.Fatalf("starting %s: %v", p.name, err)
	}
	return p
}

// Process returns the process that runs the handler that owns ctx. It panics outside of such a handler.
func (c *Cluster) Process(ctx context.Context) *Process { return c.lifeOf(ctx).p }

func (c *Cluster) lifeOf(ctx context.Context) *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lives[af.InstanceFrom(ctx).ID]
	if l == nil {
		panic("aftest: the context is not that of a handler in a process of the cluster")
	}
	return l
}

// Crash crashes the process that runs the handler that owns ctx, as [Process.Crash] does, and ends the calling
// goroutine, which should be the handler's: Crash does not return. Deferred functions run. It panics outside of such a
// handler.
func (c *Cluster) Crash(ctx context.Context) {
	c.lifeOf(ctx).fault.Crash()
	runtime.Goexit()
}

// StoreDown makes the store unavailable to all Apps for d, the Client included. Requests fail at once, or wait for the
// end of the outage, as the seed determines. StoreDown returns immediately.
func (c *Cluster) StoreDown(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(c.downUntil) {
		c.downUntil = until
	}
	c.world.Down(c.rand.IntN(2) == 0)
	time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !time.Now().Before(c.downUntil) {
			c.world.Up()
		}
	})
}

// SlowStore makes each request of a process to the backend take up to most. 0 ends that.
func (c *Cluster) SlowStore(most time.Duration) {
	c.setPlan(func(p *fault.Plan) {
		p.Delay, p.MostDelay = 1, most
		if most <= 0 {
			p.Delay, p.MostDelay = 0, 0
		}
	})
}

// LoseReplies makes requests of processes to the backend lose their replies, with a probability between 0 and 1: they
// take effect, and the process gets [af.ErrUnavailable] with [af.OutcomeUnknown]. So do calls to services.
func (c *Cluster) LoseReplies(probability float64) {
	c.setPlan(func(p *fault.Plan) { p.LoseReply = probability })
}

// setPlan changes the faults of all current and future processes.
func (c *Cluster) setPlan(change func(*fault.Plan)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.plan)
	for _, l := range c.lives {
		l.fault.SetPlan(c.plan)
	}
}

// heal ends all faults.
func (c *Cluster) heal() {
	c.setPlan(func(p *fault.Plan) { *p = fault.Plan{} })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.downUntil = time.Time{}
	c.world.Up()
	for _, l := range c.lives {
		l.cutUntil = time.Time{}
		l.fault.Cut(fault.Neither)
		l.fault.Fail("Settle", 0, fault.None)
	}
}

// An aliveHandler is the log of a process, which ends with it.
type aliveHandler struct {
	slog.Handler
	dead <-chan struct{}
}

func (h aliveHandler) Handle(ctx context.Context, r slog.Record) error {
	select {
	case <-h.dead:
		return nil
	default:
		return h.Handler.Handle(ctx, r)
	}
}

func (h aliveHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return aliveHandler{h.Handler.WithAttrs(attrs), h.dead}
}

func (h aliveHandler) WithGroup(name string) slog.Handler {
	return aliveHandler{h.Handler.WithGroup(name), h.dead}
}
