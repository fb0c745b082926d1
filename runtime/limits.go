package runtime

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/retry"
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

// at returns the limit for a worker with the maximum own, on an instance with this ip.
func (l Limits) at(ip string, own int) tasks.Limit {
	most := own
	if l.Max != nil {
		most = *l.Max
	}
	if n, ok := l.At[ip]; ok {
		most = n
	}
	most = min(max(most, 0), maxWorkers) // the document may have been edited
	return tasks.Limit{Max: most, Paused: l.Paused, Revision: l.Revision, Known: true}
}

const (
	limitsPrefix  = "limits/" // of documents
	maxWorkers    = 1_000_000
	maxLimitedIPs = 1000 // of one queue
	maxName       = 255  // bytes of a queue or an ip
)

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
	if n < 0 || n > maxWorkers {
		return Errorf(ErrInvalidArgument, "queue %.80q: max workers %d out of range [0, %d]", name, n, maxWorkers).
			With(OutcomeNotSent)
	}
	ch := limitsChange{queue: name, ip: ip, limitOptions: limitOptionsOf(opts), audit: audit.QueueMax,
		detail: strings.TrimSpace(strconv.Itoa(n) + " " + ip)}
	return a.changeLimits(ctx, ch, func(l *Limits) {
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
	return a.changeLimits(ctx, ch, func(l *Limits) {
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
	return a.changeLimits(ctx, ch, func(l *Limits) { l.Paused = true })
}

// ResumeQueue ends a pause. The queue's limits apply again, including changes made during the pause.
func (a *App) ResumeQueue(ctx context.Context, name string, opts ...ActionOption) error {
	ch := limitsChange{queue: name, limitOptions: existingLimits(opts), audit: audit.QueueResume}
	return a.changeLimits(ctx, ch, func(l *Limits) { l.Paused = false })
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

// A limitsChange describes a change of limits.
type limitsChange struct {
	queue, ip string
	limitOptions
	audit, detail string // its entry in the audit log
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

// changeLimits changes the limits of a queue, records that, and notifies the instances.
func (a *App) changeLimits(ctx context.Context, ch limitsChange, change func(*Limits)) error {
	c, err := a.limited()
	if err == nil {
		err = ch.action.Check()
	}
	if err != nil {
		return err
	}
	if ch.queue == "" || len(ch.queue) > maxName || len(ch.ip) > maxName {
		return Errorf(ErrInvalidArgument, "limits of queue %.80q, ip %.80q: the name must not be empty, and neither "+
			"may exceed %d bytes", ch.queue, ch.ip, maxName).With(OutcomeNotSent)
	}
	err = c.updateLimits(ctx, ch, change)
	c.record(ctx, ch.action, ch.audit, ch.queue, ch.detail, err)
	if err == nil {
		c.bus.Publish(tasks.TopicLimits, []string{ch.queue})
	}
	return err
}

// updateLimits changes the limits of a queue. After a concurrent change it retries.
func (c *core) updateLimits(ctx context.Context, ch limitsChange, change func(*Limits)) error {
	var now time.Time
	err := c.requests.Do(ctx, func(ctx context.Context) (err error) {
		now, err = c.store.Now(ctx)
		return err
	})
	if err != nil {
		return err
	}
	err = retry.Update(ctx, func(ctx context.Context) error {
		return c.requests.Do(ctx, func(ctx context.Context) error {
			l, err := c.readLimits(ctx, ch.queue)
			if err != nil {
				return err
			}
			if !ch.create {
				if err := c.checkKnown(ctx, ch.queue, ch.ip, l); err != nil {
					return err
				}
			}
			before := l
			l.At = maps.Clone(l.At)
			if change(&l); len(l.At) > maxLimitedIPs {
				return Errorf(ErrResourceExhausted, "queue %q: limits for more than %d ips", ch.queue, maxLimitedIPs)
			}
			if l.sameAs(before) {
				if l.Revision == 0 {
					return nil
				}
			} else {
				l.Changed, l.By, l.Reason = now.UTC(), ch.action.By, ch.action.Reason
			}
			revision := l.Revision
			l.Revision = 0 // the document's own counts
			value, err := json.Marshal(l)
			if err == nil {
				_, err = c.ports.Docs.PutIf(ctx, limitsPrefix+ch.queue, revision, value)
			}
			return err
		})
	})
	if CodeOf(err) == ErrAborted && ctx.Err() != nil {
		return Errorf(CodeOf(ctx.Err()), "changing the limits of queue %q: %w", ch.queue, context.Cause(ctx))
	}
	return err
}

// sameAs reports whether the limits have the same effect as others.
func (l Limits) sameAs(o Limits) bool {
	same := l.Max == o.Max || l.Max != nil && o.Max != nil && *l.Max == *o.Max
	return same && l.Paused == o.Paused && maps.Equal(l.At, o.At)
}

// limitOf reads the limits of all queues and returns a function with those of this instance.
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
