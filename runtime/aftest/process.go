package aftest

import (
	"context"
	"time"

	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
)

// A Process is a process of a [Cluster]. Its methods are safe for concurrent use.
type Process struct {
	c        *Cluster
	name     string
	register func(*af.App)

	life *life // the current one, nil before the first; guarded by c.mu
}

// A life is a process between its start and its end.
type life struct {
	p        *Process
	app      *af.App
	fault    *fault.Backend
	started  time.Time
	restart  chan struct{} // closed by Restart
	cutUntil time.Time     // guarded by Cluster.mu
}

func (l *life) crashed() bool {
	select {
	case <-l.fault.Dead():
		return true
	default:
		return false
	}
}

// faulty reports whether the life has crashed or been restarted.
func (l *life) faulty() bool {
	select {
	case <-l.restart:
		return true
	default:
		return l.crashed()
	}
}

// shutdown shuts the App down. After a crash it only ends what is left of it.
func (l *life) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if l.crashed() {
		cancel()
	}
	return l.app.Shutdown(ctx)
}

// App returns the process's App. After a crash or a restart it is another one.
func (p *Process) App() *af.App { return p.current().app }

func (p *Process) current() *life {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.life
}

// boot starts the process.
func (p *Process) boot() error {
	c := p.c
	c.mu.Lock()
	l := &life{
		p: p, fault: fault.New(c.world, c.rand.Uint64(), c.plan), started: time.Now(), restart: make(chan struct{}),
	}
	c.mu.Unlock()
	var err error
	if l.app, err = c.open(p.name, l.fault); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	c.mu.Lock()
	c.lives[l.app.Instance().ID] = l // its handlers may run before Start returns
	l.fault.SetPlan(c.plan)
	c.mu.Unlock()
	p.register(l.app)
	if err := l.app.Start(ctx); err != nil {
		l.fault.Crash()
		_ = l.shutdown(ctx)
		return err
	}
	c.mu.Lock()
	p.life = l
	c.mu.Unlock()
	c.background.Go(func() { p.watch(l) })
	return nil
}

// watch waits for the end of a life, and then starts the next one.
func (p *Process) watch(l *life) {
	select {
	case <-l.fault.Dead():
	case <-l.restart:
	case <-p.c.done:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	_ = l.shutdown(ctx) // other faults may disturb it
	for {
		select {
		case <-time.After(restartAfter):
		case <-p.c.done:
			return
		}
		if p.boot() == nil { // it fails while the store is unavailable
			return
		}
	}
}

// Crash ends the process as SIGKILL does: nothing that it does from now on has an effect on the backend, its results
// are lost, and it logs nothing. Its tasks run again in another process once the lease has expired, and no attempt is
// charged. The contexts of its handlers end. A goroutine can't be killed, so a handler that ignores its context runs
// on, as in a process that was cut off: see [Cluster.Crash].
func (p *Process) Crash() { p.current().fault.Crash() }

// LoseResult crashes the process when it next writes the results of tasks, before they are stored. The handlers have
// returned, so that their tasks run again after their effects. Called in a handler, with the process that
// [Cluster.Process] returns, it applies to the handler's own task, unless another one ends earlier.
func (p *Process) LoseResult() { p.current().fault.Fail("Settle", 1, fault.Fatal) }

// Partition cuts the process off from the backend and from all other processes for d, and returns immediately. If d
// exceeds the lease, 20 s by default, the tasks of the process run in others, while its own handlers may still run:
// their contexts end with [af.ErrLeaseLost] before that.
func (p *Process) Partition(d time.Duration) {
	l, c := p.current(), p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.cutUntil) {
		l.cutUntil = until
	}
	l.fault.Cut(fault.Requests | fault.Replies)
	time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !time.Now().Before(l.cutUntil) {
			l.fault.Cut(fault.Neither)
		}
	})
}

// Restart shuts the process down, as SIGTERM does, and starts it again a second later, as in a rolling update. Handlers
// learn of it by [af.Draining], and have a minute. It returns immediately.
func (p *Process) Restart() {
	l, c := p.current(), p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-l.restart:
	default:
		close(l.restart)
	}
}
