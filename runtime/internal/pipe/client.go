package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// A Client is the pipe of an App in a child process to its parent. It is safe for concurrent use.
type Client struct {
	Data
	self         *child.Child
	ports        *backend.Ports
	disconnected atomic.Bool
}

var _ Parent = (*Client)(nil)

// claimed is set once an App of this child process runs its task. There is one task, but main may open several Apps.
var claimed atomic.Bool

// Connect returns the pipe to the parent of this process for one App. It returns nil if this process is not a child. In
// a child of another kind, such as an executor's, the App is not connected.
func Connect() (*Client, error) {
	self := child.Self()
	if self == nil {
		return nil, nil
	}
	c := &Client{self: self}
	if !c.HasTask() { // main may open Apps before it gets to the executor
		c.Disconnect()
		c.ports = newPorts(c, "none")
		return c, nil
	}
	if err := json.Unmarshal(self.Data, &c.Data); err != nil {
		return nil, backend.Errorf(backend.ErrInternal, "what this child process was told: %w", err)
	}
	c.ports = newPorts(c, c.Backend)
	return c, nil
}

// HasTask reports whether this process was started to run a task.
func (c *Client) HasTask() bool { return c.self.Kind == kindTask }

// Queue returns the queue of the task.
func (c *Client) Queue() string { return c.self.Name }

// Claim reports whether the App shall run the process's task: it is connected, and no other App of this process has
// claimed the task before.
func (c *Client) Claim() bool {
	return !c.disconnected.Load() && claimed.CompareAndSwap(false, true)
}

// Disconnect has all further operations fail with ErrFailedPrecondition: the task is that of another App.
func (c *Client) Disconnect() { c.disconnected.Store(true) }

// Ports returns the ports of the App.
func (c *Client) Ports() *backend.Ports { return c.ports }

// Wake passes a hint on. It is sent before the result of the task, and lost only if the parent dies.
func (c *Client) Wake(queue string, ids []string) {
	ids = ids[:min(len(ids), maxWake)]
	_ = c.self.Notify(noticeWake, argsWake{queue, ids}) // it fails only with the parent
}

// StopTasks has the parent stop tasks. It passes none to s.Each.
func (c *Client) StopTasks(ctx context.Context, s backend.Stop) error {
	_, err := opStop.call(ctx, c, s)
	return err
}

// WaitTask has the parent wait, which gets the notifications.
func (c *Client) WaitTask(ctx context.Context, id, by string) (backend.Task, error) {
	return opWait.call(ctx, c, argsWait{ID: id, By: by})
}

// Snowflake returns an id of the parent's: a node number for each child would be too many.
func (c *Client) Snowflake(ctx context.Context) (string, error) {
	return opSnowflake.call(ctx, c, none{})
}

// Logs returns a handler that sends log records to the parent.
func (c *Client) Logs() slog.Handler { return &logHandler{c: c, level: c.Level} }

// A Handler is how an App runs the task of its process.
type Handler struct {
	Run    func(ctx context.Context, t Task) (json.RawMessage, error)
	Drain  func() // called at most once, when the parent begins to shut down
	Causes Causes
}

// Serve tells the parent that it is ready, runs the task, replies and ends the process. It doesn't return.
func (c *Client) Serve(h Handler) {
	var drain sync.Once
	if err := c.self.Ready(func(r *child.Request) {
		if r.Op == noticeDrain {
			drain.Do(h.Drain)
			return
		}
		h.serve(r)
	}); err != nil {
		fail(err)
	}
	select {} // until the task has ended and the process with it
}

// serve runs the task and ends the process.
func (h *Handler) serve(r *child.Request) {
	var result json.RawMessage
	guard.Do(func() error {
		var t Task
		err := json.Unmarshal(r.Body, &t)
		if err != nil {
			return err
		}
		ctx, cancel := h.context(r.Context, t.Left)
		defer cancel()
		result, err = h.Run(ctx, t)
		return err
	}, func(err error) {
		if err != nil {
			err = taskFault(err)
		}
		if err := r.Reply(result, err); err != nil {
			fail(err)
		}
		os.Exit(0)
	})
}

// context returns the context of a handler: it ends after left, unless that is 0, or for the cause of the parent's
// context.
func (h *Handler) context(parent context.Context, left time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := func() {}
	if left > 0 {
		ctx, stop = context.WithTimeoutCause(ctx, left, h.Causes.Timeout)
	}
	unlink := context.AfterFunc(parent, func() {
		f, ok := errors.AsType[*child.Fault](context.Cause(parent))
		if ok && f.Kind != causeTimeout { // for that it has a timer of its own
			cancel(h.Causes.err(f))
		}
	})
	return ctx, func() {
		unlink()
		stop()
		cancel(nil)
	}
}

// fail ends a child process that can't reply to its parent.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "child process:", err)
	os.Exit(2)
}
