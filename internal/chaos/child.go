//go:build unix

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/goleak"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// An assignment is the first line that a child reads: its identity. Commands follow.
type assignment struct {
	Address string
	Works   []int
	Drain   time.Duration
	Lease   time.Duration
}

// A command is a request to a child, which answers with its number.
type command struct {
	N      int
	Target string // source of subtasks, or the task to stop
	Submit Submit
}

// A report is a line written by a child. It counts even if the child is killed right after.
type report struct {
	Kind   string   `json:"kind"` // instance, ready, answer, run, told, over, ended
	ID     string   `json:"id,omitempty"`
	N      int      `json:"n,omitempty"`
	Fence  int64    `json:"fence,omitempty"`
	IDs    []string `json:"ids,omitempty"`
	Counts [4]int   `json:"counts,omitzero"`
	Code   af.Code  `json:"code,omitempty"`
	Text   string   `json:"text,omitempty"`
}

// Exit codes of a child other than 0.
const (
	exitOrphan = 3 // the parent has exited
	exitBroken = 4
	exitCutOff = 5 // the drain cancelled handlers, whose tasks were released
	// exitUnwritten: the store was too slow for some results.
	exitUnwritten = 6

	shortLease = 3 * time.Second
	delays     = 100 * time.Millisecond // of snoozes, and the timeout of handlers that hang
)

// A child is one process of a scenario: an App and its reports.
type child struct {
	assignment
	app    *af.App
	queues []af.Queue[Order, receipt]

	mu     sync.Mutex
	inside map[string]int // running handlers by queue
}

// An opener is the backend of a child.
type opener struct {
	child *child
	open  func(address, instance string) (backend.Backend, error)
}

func (b opener) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	b.child.report(report{Kind: "instance", ID: env.Instance.ID})
	inner, err := b.open(b.child.Address, env.Instance.ID)
	if err != nil {
		return nil, err
	}
	return inner.Open(ctx, env)
}

// report writes a line immediately.
func (c *child) report(r report) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = os.Stdout.Write(append(line, '\n'))
}

// Child is main of a fleet's processes. It runs an App until it is told to end, on the backend that open returns for
// [World.Address] and the App's instance. It returns the exit code.
func Child(open func(address, instance string) (backend.Backend, error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := &child{inside: map[string]int{}}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.assignment)
	}
	before := goleak.IgnoreCurrent()
	if err == nil {
		err = c.start(open)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		return exitBroken
	}
	c.report(report{Kind: "ready"})
	go c.obey(in)
	<-ctx.Done()
	drain, cancel := context.WithTimeout(context.Background(), c.Drain)
	defer cancel()
	if err = c.app.Shutdown(drain); err == nil {
		// Late commands are refused.
		err = goleak.Find(before, goleak.IgnoreAnyFunction(obeys), goleak.IgnoreAnyFunction(obeys+".func1"))
	}
	if err == nil {
		return 0
	}
	c.report(report{Kind: "ended", Text: err.Error()})
	switch {
	case errors.Is(err, af.ErrUnavailable):
		return exitUnwritten
	case errors.Is(err, af.ErrDeadlineExceeded):
		return exitCutOff
	}
	return exitBroken
}

// obeys is the name of the goroutine that reads commands.
const obeys = "github.com/afgen/afgen/internal/chaos.(*child).obey"

func (c *child) start(open func(address, instance string) (backend.Backend, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	app, err := af.Open(ctx, opener{c, open}, af.Lease(c.Lease), af.Logger(log), af.IP("192.0.2.1"))
	if err != nil {
		return err
	}
	c.app = app
	for i, w := range workers {
		c.queues = append(c.queues, af.NewQueue[Order, receipt](app, w))
		for _, mine := range c.Works {
			switch h := (plain{c, w}); {
			case mine != i:
			case i >= drawn-1:
				af.RegisterWorker(app, w, &h)
			default:
				af.RegisterWorker(app, w, &fan{h})
			}
		}
	}
	return app.Start(ctx)
}

// obey executes commands in parallel until the parent exits.
func (c *child) obey(in io.Reader) {
	d := json.NewDecoder(in)
	for {
		var cmd command
		if err := d.Decode(&cmd); err != nil {
			os.Exit(exitOrphan)
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			ids, err := c.carryOut(ctx, cmd)
			r := report{Kind: "answer", N: cmd.N, IDs: ids, Code: af.CodeOf(err)}
			if err != nil {
				r.Text = err.Error()
			}
			c.report(r)
		}()
	}
}

func (c *child) carryOut(ctx context.Context, cmd command) ([]string, error) {
	u := cmd.Submit
	q := c.queues[u.Queue]
	one := func(id string, err error) ([]string, error) { return []string{id}, err }
	switch u.How {
	case "stop":
		return nil, c.app.StopTask(ctx, cmd.Target)
	case "subtasks":
		return c.queues[u.Family.Queue].Subtasks(ctx, cmd.Target, u.Family.Orders,
			append(u.Family.options(), af.Batch(u.Family.Batch))...)
	case "many":
		return q.SubmitMany(ctx, u.Orders, u.options()...)
	case "store":
		return one(q.Store(ctx, u.Orders[0], u.options()...))
	default:
		return one(q.Submit(ctx, u.Orders[0], u.options()...))
	}
}

func (u Submit) options() []af.SubmitOption {
	opts := u.SubmitOptions()
	if len(u.Orders) == 1 && u.Orders[0].Do == "hang" {
		opts = append(opts, af.Timeout(delays))
	}
	return opts
}

func (f Family) options() []af.SubtaskOption {
	opts := []af.SubtaskOption{af.OnFailure(f.Policy)}
	if f.Now {
		opts = append(opts, af.RunNow())
	}
	return opts
}

// plain has the handlers of a worker; fan also has SubtasksDone.
type plain struct {
	c *child
	w af.Worker
}

type fan struct{ plain }

// A receipt is a result: of which task, by which claim.
type receipt struct {
	Ticket int
	Fence  int64
}

func (h *fan) SubtasksDone(ctx context.Context, o Order, s af.Subtasks) error {
	h.c.enter(h.w)
	defer h.c.leave(h.w)
	r := af.TaskFrom(ctx)
	h.c.report(report{Kind: "run", ID: r.ID, Fence: r.Fence})
	h.c.report(report{Kind: "told", ID: r.ID, Counts: [4]int{s.Total, s.Succeeded, s.Failed, s.Stopped}})
	return nil
}

func (h *plain) Run(ctx context.Context, o Order) (receipt, error) {
	h.c.enter(h.w)
	defer h.c.leave(h.w)
	r := af.TaskFrom(ctx)
	h.c.report(report{Kind: "run", ID: r.ID, Fence: r.Fence})
	for _, f := range o.Kids {
		if _, err := h.c.queues[f.Queue].Subtasks(ctx, r.ID, f.Orders, f.options()...); err != nil {
			return receipt{}, af.Snooze(delays) // once more with the same batches
		}
	}
	if o.Do == "hang" {
		<-ctx.Done()
	}
	if !pause(ctx, o.For) {
		return receipt{}, context.Cause(ctx)
	}
	again := o.N == 0 || r.Attempt <= o.N
	switch {
	case o.Do == "fail" && again:
		return receipt{}, errors.New("as ordered")
	case o.Do == "permanent":
		return receipt{}, af.Permanent(af.ErrOutOfRange)
	case o.Do == "snooze" && r.Fence <= int64(o.N):
		return receipt{}, af.Snooze(delays)
	case o.Do == "panic" && again:
		panic("as ordered")
	}
	return receipt{o.Ticket, r.Fence}, nil
}

// pause works for d, and reports whether it wasn't cancelled.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (c *child) enter(w af.Worker) {
	c.mu.Lock()
	n := c.inside[w.Name] + 1
	c.inside[w.Name] = n
	c.mu.Unlock()
	if n > w.Max {
		c.report(report{Kind: "over", Text: fmt.Sprintf("%d tasks of %s, whose max is %d", n, w.Name, w.Max)})
	}
}

func (c *child) leave(w af.Worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside[w.Name]--
}
