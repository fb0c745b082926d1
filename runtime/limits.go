package runtime

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/limits"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// Limits limit how many tasks of a queue each instance runs at once. They are stored, so they survive restarts and can
// be set before a worker of the queue runs.
type Limits struct {
	// Paused is set if no instance claims tasks of the queue, whatever Max and At are.
	Paused bool `json:"paused,omitempty"`
	// Max applies to each instance whose ip is not in At. nil means the worker's own maximum.
	Max *int `json:"max,omitempty"`
	// At has the limits of single ips. Each applies to every instance that reports the ip.
	At map[string]int `json:"at,omitempty"`
	// Changed is when the limits were last changed, by the store's clock; By and Reason are the options of that change.
	// All are empty if it was made by a process of an older version.
	Changed time.Time `json:"changed,omitzero"`
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	// Revision is raised by each change; 0 means that no limits have been set. The document that stores them has its own.
	Revision int64 `json:"revision,omitempty"`
}

// UpdateMaxWorkers limits each instance that reports ip to n tasks of a queue at once. If ip is "", the limit applies
// to all instances, and the limits of single ips are removed. With n = 0 no task is claimed. Running tasks are not
// stopped: if more than n are running, no task is claimed until fewer than n are.
//
// After a nil error the limit is stored, also for instances that start later. Running instances apply it at once, or
// within 5 s if the notification is lost. [App.Workers] shows what each has applied.
//
// If the queue or the ip is unknown, it returns [ErrNotFound], unless [Create] is given. A queue is known if it has a
// task, a job or limits, or has or had a worker. An ip is known if an instance reports it, a limit of the queue names
// it, or a machine had it within the last week. Concurrent calls take effect one after the other.
func (a *App) UpdateMaxWorkers(ctx context.Context, name, ip string, n int, opts ...LimitOption) error {
	if n < 0 || n > limits.MaxWorkers {
		return Errorf(ErrInvalidArgument, "queue %.80q: max workers %d out of range [0, %d]", name, n, limits.MaxWorkers).
			With(OutcomeNotSent)
	}
	ch := limitsChange{queue: name, ip: ip, limitOptions: limitOptionsOf(opts), audit: audit.QueueMax,
		detail: strings.TrimSpace(strconv.Itoa(n) + " " + ip)}
	return a.changeLimits(ctx, ch, func(l *limits.Limits) {
		if ip == "" {
			l.Max, l.At = &n, nil
			return
		}
		if l.At == nil {
			l.At = map[string]int{}
		}
		l.At[ip] = n
	})
}

// ResetMaxWorkers removes the limit that UpdateMaxWorkers set for an ip, or all limits of the queue if ip is "".
// The worker's own maximum applies again.
func (a *App) ResetMaxWorkers(ctx context.Context, name, ip string, opts ...ActionOption) error {
	ch := limitsChange{queue: name, ip: ip, limitOptions: existingLimits(opts), audit: audit.QueueReset, detail: ip}
	return a.changeLimits(ctx, ch, func(l *limits.Limits) {
		if ip == "" {
			l.Max, l.At = nil, nil
		}
		delete(l.At, ip)
	})
}

// PauseQueue stops all instances from claiming tasks of a queue, and from calling SubtasksDone of its tasks, until
// ResumeQueue. Running tasks finish and submissions still succeed. The pause is stored and takes effect as described at
// [App.UpdateMaxWorkers]. If the queue is unknown, it returns [ErrNotFound], unless [Create] is given. Pausing a paused
// queue has no effect.
func (a *App) PauseQueue(ctx context.Context, name string, opts ...LimitOption) error {
	ch := limitsChange{queue: name, limitOptions: limitOptionsOf(opts), audit: audit.QueuePause}
	return a.changeLimits(ctx, ch, func(l *limits.Limits) { l.Paused = true })
}

// ResumeQueue ends a pause. The queue's limits apply again, including changes made during the pause.
func (a *App) ResumeQueue(ctx context.Context, name string, opts ...ActionOption) error {
	ch := limitsChange{queue: name, limitOptions: existingLimits(opts), audit: audit.QueueResume}
	return a.changeLimits(ctx, ch, func(l *limits.Limits) { l.Paused = false })
}

// QueueLimits returns the limits of a queue, or zero Limits if none are set.
func (a *App) QueueLimits(ctx context.Context, name string) (Limits, error) {
	c, err := a.limited()
	if err != nil {
		return Limits{}, err
	}
	l, err := c.limits.Get(ctx, name)
	return Limits(l), err
}

// limited returns the core, or an error if the backend can't store limits.
func (a *App) limited() (*core, error) {
	c, err := a.active()
	if err == nil && c.ports.Docs == nil {
		err = Errorf(ErrUnimplemented, "backend %q does not support documents", a.ports.Name).With(OutcomeNotSent)
	}
	return c, err
}

// A LimitOption changes how [App.PauseQueue] and [App.UpdateMaxWorkers] set limits.
type LimitOption interface{ applyLimit(*limitOptions) }

type limitOptions struct {
	create bool
	action action
}

type limitOption func(*limitOptions)

func (f limitOption) applyLimit(o *limitOptions) { f(o) }

// Create also sets limits for an unknown queue or ip, such as one that will exist after the next deployment. Without
// it, an unknown name is considered a mistake and [ErrNotFound] is returned.
func Create() LimitOption { return limitOption(func(o *limitOptions) { o.create = true }) }

func limitOptionsOf(opts []LimitOption) (o limitOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyLimit(&o)
		}
	}
	return o
}

// existingLimits returns the options of a change that doesn't need the queue or the ip to be known: it only removes
// limits.
func existingLimits(opts []ActionOption) limitOptions {
	o := limitOptions{create: true}
	for _, opt := range opts {
		opt.apply(&o.action)
	}
	return o
}

// A limitsChange describes a change of limits.
type limitsChange struct {
	queue, ip string
	limitOptions
	audit, detail string // its entry in the audit log
}

// changeLimits changes the limits of a queue and records that.
func (a *App) changeLimits(ctx context.Context, ch limitsChange, change func(*limits.Limits)) error {
	c, err := a.limited()
	if err == nil {
		err = ch.action.Check()
	}
	if err != nil {
		return err
	}
	err = c.limits.Change(ctx, limits.Change{
		Queue: ch.queue, IP: ch.ip, Create: ch.create, By: ch.action.By, Reason: ch.action.Reason, Apply: change,
	})
	c.record(ctx, ch.action, ch.audit, ch.queue, ch.detail, err)
	return err
}

// newLimits returns the limits of a core's queues.
func newLimits(c *core) *limits.Store {
	s := &limits.Store{
		Docs: c.ports.Docs, Tasks: c.store, Requests: c.requests, Bus: c.bus, Log: c.log,
		Queues: c.queues, Jobs: c.jobQueues, Present: c.presentInstances, Nodes: c.nodes.All,
	}
	if !c.app.settings.observer {
		s.IP = c.app.instance.IP
	}
	return s
}

// jobQueues returns the queues of the jobs.
func (c *core) jobQueues(ctx context.Context) ([]string, error) {
	all, err := c.jobs.All(ctx, "")
	queues := make([]string, len(all))
	for i := range all {
		queues[i] = all[i].Queue
	}
	return queues, err
}

// presentInstances returns the running instances, or none if the backend doesn't support a registry.
func (c *core) presentInstances(ctx context.Context) (map[string]registry.Announcement, error) {
	if c.ports.Coordinator == nil {
		return nil, nil
	}
	return c.registry.Present(ctx)
}

// limitOf reads the limits of all queues and returns a function with those of this instance.
func (c *core) limitOf(ctx context.Context) (tasks.LimitOf, error) {
	all, err := c.limits.All(ctx)
	if err != nil {
		return nil, err
	}
	return func(queue string, own int) tasks.Limit { return all[queue].For(c.app.instance.IP, own) }, nil
}
