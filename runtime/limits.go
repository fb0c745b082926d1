package runtime

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// Limits say how many tasks of one queue each instance may run at once. They are one document of the store: they survive
// restarts, hold for queues that no worker serves yet, and each change raises their Revision.
type Limits struct {
	// Paused: no task of the queue is claimed anywhere, whatever the numbers say.
	Paused bool `json:"paused,omitempty"`
	// Max is for every instance that At doesn't name; nil leaves it to the worker.
	Max *int `json:"max,omitempty"`
	// At is for the instances that report an ip.
	At map[string]int `json:"at,omitempty"`
	// Revision is 0 where nothing was ever set.
	Revision int64 `json:"-"`
}

// at returns what the limits mean for a worker whose own maximum is own, at an instance with an ip.
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

// UpdateMaxWorkers sets how many tasks of the queue name each instance that reports ip runs at once from now on; with ip
// "" every instance, and limits set for single ips before are forgotten. 0 claims nothing more there. It lowers without
// stopping anything: what runs ends, and no more is claimed while as many run as are allowed.
//
// A nil error means that it is stored, for restarts and for instances to come. Instances learn of it at once by news, and
// within 5 s without; [App.Workers] shows what each has applied. The queue needs no worker now. One that has neither a
// task, a job nor limits and never had a worker is ErrNotFound, and so is an ip that no instance reports, no limit of the queue names and
// no machine had within the last week; [Create] sets limits for those too. Of concurrent calls all take effect, one after
// the other.
func (a *App) UpdateMaxWorkers(ctx context.Context, name, ip string, n int, opts ...LimitOption) error {
	if n < 0 || n > maxWorkers {
		return Errorf(ErrInvalidArgument, "at most %d tasks at once: 0 to %d are possible", n, maxWorkers).With(OutcomeNotSent)
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

// ResetMaxWorkers takes back what UpdateMaxWorkers has set for an ip, or with ip "" all of it: the workers' own maximum
// counts again.
func (a *App) ResetMaxWorkers(ctx context.Context, name, ip string) error {
	return a.changeLimits(ctx, name, ip, false, func(l *Limits) {
		if ip == "" {
			l.Max, l.At = nil, nil
		}
		delete(l.At, ip)
	})
}

// PauseQueue stops all instances from claiming tasks of a queue, SubtasksDone of its tasks included, until ResumeQueue.
// Running tasks finish and submissions still succeed. It is stored and spread as by [App.UpdateMaxWorkers], and an unknown
// queue is ErrNotFound as there. Pausing again is harmless.
func (a *App) PauseQueue(ctx context.Context, name string, opts ...LimitOption) error {
	return a.changeLimits(ctx, name, "", !limitOptionsOf(opts).create, func(l *Limits) { l.Paused = true })
}

// ResumeQueue ends a pause. The maxima are those from before it, or what was set meanwhile.
func (a *App) ResumeQueue(ctx context.Context, name string) error {
	return a.changeLimits(ctx, name, "", false, func(l *Limits) { l.Paused = false })
}

// QueueLimits returns what is set for a queue; the zero Limits where nothing is.
func (a *App) QueueLimits(ctx context.Context, name string) (Limits, error) {
	e, err := a.limited()
	if err != nil {
		return Limits{}, err
	}
	var l Limits
	err = e.requests.Do(ctx, func(ctx context.Context) (err error) {
		l, err = e.readLimits(ctx, name)
		return err
	})
	return l, err
}

// limited returns the engine where the backend can keep limits.
func (a *App) limited() (*engine, error) {
	e, err := a.engine()
	if err == nil && e.ports.Docs == nil {
		err = Errorf(ErrUnimplemented, "the backend %s keeps no documents", a.ports.Name).With(OutcomeNotSent)
	}
	return e, err
}

func (e *engine) readLimits(ctx context.Context, queue string) (Limits, error) {
	doc, err := e.ports.Docs.Get(ctx, limitsPrefix+queue)
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
		return Limits{}, Errorf(ErrDataLoss, "the document %s does not decode: %w", doc.Name, err)
	}
	l.Revision = doc.Revision
	return l, nil
}

// changeLimits changes the limits of a queue, once more after each concurrent change, and notifies the instances. If known
// is set, the queue and the ip must be known.
func (a *App) changeLimits(ctx context.Context, name, ip string, known bool, change func(*Limits)) error {
	e, err := a.limited()
	if err != nil {
		return err
	}
	if name == "" || len(name) > maxName || len(ip) > maxName {
		return Errorf(ErrInvalidArgument, "limits of queue %.80q at %.80q: the name must not be empty, and neither longer than %d bytes",
			name, ip, maxName).With(OutcomeNotSent)
	}
	err = retry.Update(ctx, func(ctx context.Context) error {
		return e.requests.Do(ctx, func(ctx context.Context) error {
			l, err := e.readLimits(ctx, name)
			if err != nil {
				return err
			}
			if known {
				if err := e.checkKnown(ctx, name, ip, l); err != nil {
					return err
				}
			}
			l.At = maps.Clone(l.At)
			if change(&l); len(l.At) > maxPlaces {
				return Errorf(ErrResourceExhausted, "the limits of queue %q name %d ips; that is all they may", name, maxPlaces)
			}
			value, err := json.Marshal(l)
			if err == nil && (l.Revision > 0 || string(value) != "{}") {
				_, err = e.ports.Docs.PutIf(ctx, limitsPrefix+name, l.Revision, value)
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
	e.bus.Publish(tasks.TopicLimits, []string{name})
	return nil
}

// limitOf reads the limits of all queues, as they are at this instance.
func (e *engine) limitOf(ctx context.Context) (tasks.LimitOf, error) {
	all, err := e.allLimits(ctx)
	if err != nil {
		return nil, err
	}
	return func(queue string, own int) tasks.Limit { return all[queue].at(e.app.instance.IP, own) }, nil
}

// allLimits reads the limits of all queues. One that doesn't decode is left out, and logged.
func (e *engine) allLimits(ctx context.Context) (map[string]Limits, error) {
	all := map[string]Limits{}
	if e.ports.Docs == nil {
		return all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	docs, err := e.ports.Docs.List(ctx, limitsPrefix)
	if err != nil {
		return nil, backend.AsError(err)
	}
	for _, doc := range docs {
		limits, err := decodeLimits(doc)
		if err != nil {
			e.badLimits.Do(func() { e.log.Error("limits are ignored", "error", err) })
			continue
		}
		all[doc.Name[len(limitsPrefix):]] = limits
	}
	return all, nil
}
