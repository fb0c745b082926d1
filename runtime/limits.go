package runtime

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// Limits are the numbers of tasks of one queue that each instance may run at once. They are stored, so they survive
// restarts, and they may be set before a worker of the queue runs.
type Limits struct {
	// Paused reports that no instance claims tasks of the queue, whatever the numbers are.
	Paused bool `json:"paused,omitempty"`
	// Max is the number for each instance whose ip is not in At; nil means the worker's own.
	Max *int `json:"max,omitempty"`
	// At are the numbers for the instances that report an ip, by ip.
	At map[string]int `json:"at,omitempty"`
	// Revision is raised by each change; 0 means that no limits were ever set.
	Revision int64 `json:"-"`
}

// at returns the limit for a worker with the maximum own, on an instance with this ip.
func (l Limits) at(ip string, own int) tasks.Limit {
	most := own
	if l.Max != nil {
		most = *l.Max
	}
	if n, ok := l.At[ip]; ok {
		most = n
	}
	most = min(max(most, 0), maxWorkers) // whatever is in the document
	return tasks.Limit{Max: most, Paused: l.Paused, Revision: l.Revision, Known: true}
}

const (
	limitsPrefix = "limits/" // of documents
	maxWorkers   = 1_000_000
	maxPlaces    = 1000 // ips in the limits of one queue
)

// UpdateMaxWorkers sets to n the number of tasks of the queue name that each instance reporting ip may run at once. If
// ip is "", it sets n for all instances and removes the limits of single ips. With n = 0 nothing is claimed. Running
// tasks are not stopped: if more than n are running, no task is claimed until fewer than n are.
//
// After a nil error the limit is stored, also for instances that start later. Running instances apply it at once, or
// within 5 s if the notification is lost. [App.Workers] shows what each has applied.
//
// An unknown queue or ip is [ErrNotFound], unless [Create] is given. A queue is known if it has a task, a job or
// limits, or has or had a worker. An ip is known if an instance reports it, a limit of the queue names it, or a machine
// had it within the last week. Concurrent calls take effect one after the other.
func (a *App) UpdateMaxWorkers(ctx context.Context, name, ip string, n int, opts ...LimitOption) error {
	if n < 0 || n > maxWorkers {
		return Errorf(ErrInvalidArgument, "queue %.80q: max workers %d out of range [0, %d]", name, n, maxWorkers).With(OutcomeNotSent)
	}
	return a.changeLimits(ctx, name, ip, !limitOptionsOf(opts).create, func(l *Limits) {
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

// ResetMaxWorkers removes the limit that UpdateMaxWorkers has set for an ip, or all limits of the queue if ip is "".
// The worker's own maximum applies again.
func (a *App) ResetMaxWorkers(ctx context.Context, name, ip string) error {
	return a.changeLimits(ctx, name, ip, false, func(l *Limits) {
		if ip == "" {
			l.Max, l.At = nil, nil
		}
		delete(l.At, ip)
	})
}

// PauseQueue stops all instances from claiming tasks of a queue, and from calling SubtasksDone of its tasks, until
// ResumeQueue. Running tasks finish and submissions still succeed. It is stored and takes effect as described at
// [App.UpdateMaxWorkers]. An unknown queue is [ErrNotFound], unless [Create] is given. Pausing a paused queue has no
// effect.
func (a *App) PauseQueue(ctx context.Context, name string, opts ...LimitOption) error {
	return a.changeLimits(ctx, name, "", !limitOptionsOf(opts).create, func(l *Limits) { l.Paused = true })
}

// ResumeQueue ends a pause. The limits are those from before it, unless they were changed during the pause.
func (a *App) ResumeQueue(ctx context.Context, name string) error {
	return a.changeLimits(ctx, name, "", false, func(l *Limits) { l.Paused = false })
}

// QueueLimits returns the limits of a queue, or zero Limits if none are set.
func (a *App) QueueLimits(ctx context.Context, name string) (Limits, error) {
	c, err := a.limited()
	if err != nil {
		return Limits{}, err
	}
	var l Limits
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		l, err = c.readLimits(ctx, name)
		return err
	})
	return l, err
}

// limited returns the core, or an error if the backend can't store limits.
func (a *App) limited() (*core, error) {
	c, err := a.active()
	if err == nil && c.ports.Docs == nil {
		err = Errorf(ErrUnimplemented, "backend %q does not support documents", a.ports.Name).With(OutcomeNotSent)
	}
	return c, err
}

func (c *core) readLimits(ctx context.Context, queue string) (Limits, error) {
	doc, err := c.ports.Docs.Get(ctx, limitsPrefix+queue)
	if CodeOf(err) == ErrNotFound {
		return Limits{}, nil
	}
	if err != nil {
		return Limits{}, err
	}
	return decodeLimits(doc)
}

func decodeLimits(doc backend.Doc) (Limits, error) {
	var l Limits
	if err := json.Unmarshal(doc.Value, &l); err != nil {
		return Limits{}, Errorf(ErrDataLoss, "decoding document %q: %w", doc.Name, err)
	}
	l.Revision = doc.Revision
	return l, nil
}

// changeLimits changes the limits of a queue and notifies the instances. It starts again after a concurrent change. If
// known is set, the queue and the ip must be known.
func (a *App) changeLimits(ctx context.Context, name, ip string, known bool, change func(*Limits)) error {
	c, err := a.limited()
	if err != nil {
		return err
	}
	if name == "" || len(name) > maxName || len(ip) > maxName {
		return Errorf(ErrInvalidArgument, "limits of queue %.80q at ip %.80q: the name must not be empty, name and ip at most %d bytes",
			name, ip, maxName).With(OutcomeNotSent)
	}
	err = retry.Update(ctx, func(ctx context.Context) error {
		return c.requests.Do(ctx, func(ctx context.Context) error {
			l, err := c.readLimits(ctx, name)
			if err != nil {
				return err
			}
			if known {
				if err := c.checkKnown(ctx, name, ip, l); err != nil {
					return err
				}
			}
			l.At = maps.Clone(l.At)
			if change(&l); len(l.At) > maxPlaces {
				return Errorf(ErrResourceExhausted, "queue %q: limits for more than %d ips", name, maxPlaces)
			}
			value, err := json.Marshal(l)
			if err == nil && (l.Revision > 0 || string(value) != "{}") {
				_, err = c.ports.Docs.PutIf(ctx, limitsPrefix+name, l.Revision, value)
			}
			return err
		})
	})
	switch {
	case CodeOf(err) == ErrAborted && ctx.Err() != nil:
		return Errorf(CodeOf(ctx.Err()), "changing the limits of queue %q: %w", name, context.Cause(ctx))
	case err != nil:
		return err
	}
	c.bus.Publish(tasks.TopicLimits, []string{name})
	return nil
}

// limitOf reads the limits of all queues on this instance.
func (c *core) limitOf(ctx context.Context) (tasks.LimitOf, error) {
	all, err := c.allLimits(ctx)
	if err != nil {
		return nil, err
	}
	return func(queue string, own int) tasks.Limit { return all[queue].at(c.app.instance.IP, own) }, nil
}

// allLimits reads the limits of all queues. It logs and skips those that can't be decoded.
func (c *core) allLimits(ctx context.Context) (map[string]Limits, error) {
	all := map[string]Limits{}
	if c.ports.Docs == nil {
		return all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	docs, err := c.ports.Docs.List(ctx, limitsPrefix)
	if err != nil {
		return nil, backend.AsError(err)
	}
	for _, doc := range docs {
		limits, err := decodeLimits(doc)
		if err != nil {
			c.badLimits.Do(func() { c.log.Error("queue limits ignored", "error", err) })
			continue
		}
		all[doc.Name[len(limitsPrefix):]] = limits
	}
	return all, nil
}
