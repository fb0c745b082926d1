package runtime

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
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
func (l Limits) at(ip string, own int) limit {
	most := own
	if l.Max != nil {
		most = *l.Max
	}
	if n, ok := l.At[ip]; ok {
		most = n
	}
	most = min(max(most, 0), maxWorkers) // whatever is in the document
	return limit{max: most, paused: l.Paused, revision: l.Revision, known: true}
}

// A limit is what Limits mean for one worker of one instance.
type limit struct {
	max      int
	paused   bool
	revision int64
	known    bool // the limits have been read: nothing is claimed before
}

// slots is how many tasks may run at once.
func (l limit) slots() int {
	if l.paused || !l.known {
		return 0
	}
	return l.max
}

const (
	limitsPrefix = "limits/" // of documents
	topicLimits  = "af.limits"
	limitsEvery  = 4 * time.Second // the net under the news: within 5 s with its jitter
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
	e.limits.lookNow()
	e.bus.Publish(topicLimits, []string{name})
	return nil
}

// A limiter reads the limits of this App's queues, when there is news of them and now and then, and passes them to the
// pools.
type limiter struct {
	e     *engine
	first map[string]Limits // as they were when the App was started; nil where they could not be read
	look  chan struct{}
	once  sync.Once // it is said once that some don't decode
}

func newLimiter(e *engine) *limiter { return &limiter{e: e, look: make(chan struct{}, 1)} }

func (l *limiter) lookNow() {
	select {
	case l.look <- struct{}{}:
	default:
	}
}

// begin reads the limits for the pools to begin with. Where that fails they claim nothing until it succeeds.
func (l *limiter) begin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.e.heartbeat.Lease/4)
	defer cancel()
	var err error
	if l.first, err = l.e.allLimits(ctx); err != nil {
		l.e.logAway("the limits can't be read yet", err)
	}
}

// of returns the limit that a pool begins with.
func (l *limiter) of(w WorkerSpec) limit {
	if l.first == nil {
		return limit{}
	}
	return l.first[w.Name].at(l.e.app.instance.IP, w.Max)
}

// run reads the limits until ctx ends.
func (l *limiter) run(ctx context.Context) {
	if len(l.e.pools) == 0 {
		return
	}
	for {
		wait := limitsEvery
		if err := l.load(ctx); err != nil && ctx.Err() == nil {
			l.e.log.Debug("the limits can't be read", "error", err)
			wait = retry.MinPoll
		}
		timer := time.NewTimer(retry.Jitter(wait))
		select {
		case <-l.look:
		case <-timer.C:
		case <-ctx.Done():
		}
		if timer.Stop(); ctx.Err() != nil {
			return
		}
	}
}

// load reads the limits and tells the pools.
func (l *limiter) load(ctx context.Context) error {
	all, err := l.e.allLimits(ctx)
	if err != nil {
		return err
	}
	for name, p := range l.e.pools {
		p.limitTo(all[name].at(l.e.app.instance.IP, p.spec.Max))
	}
	return nil
}

// allLimits reads the limits of all queues. One that doesn't decode is left out, and logged.
func (e *engine) allLimits(ctx context.Context) (map[string]Limits, error) {
	all := map[string]Limits{}
	if e.ports.Docs == nil {
		return all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	docs, err := e.ports.Docs.List(ctx, limitsPrefix)
	if err != nil {
		return nil, backend.AsError(err)
	}
	for _, doc := range docs {
		limits, err := decodeLimits(doc)
		if err != nil {
			e.limits.once.Do(func() { e.log.Error("limits are ignored", "error", err) })
			continue
		}
		all[doc.Name[len(limitsPrefix):]] = limits
	}
	return all, nil
}

// limitTo says how many tasks the pool may run. The claim loop applies it between two claims, so that it is exact: none
// is under way that counted on more slots.
func (p *pool) limitTo(l limit) {
	p.mu.Lock()
	changed := p.wanted != l
	p.wanted = l
	p.mu.Unlock()
	if changed {
		p.signal()
	}
}

// fit applies the limit that is wanted: the number of slots, and the window of the listener. Hints beyond that go to
// others. Only the claim loop calls it, while it claims nothing.
func (p *pool) fit(ctx context.Context) {
	p.mu.Lock()
	if p.wanted == p.applied {
		p.mu.Unlock()
		return
	}
	more := p.wanted.slots() > p.applied.slots()
	p.applied = p.wanted
	if more {
		p.look, p.fitted = true, time.Time{}
	}
	window := windowOf(p.applied.slots())
	var excess []backend.Hint
	if len(p.hinted) > window {
		excess = p.hinted[window:]
		p.hinted = p.hinted[:window:window]
	}
	p.mu.Unlock()
	p.e.registry.announceNow()
	if err := p.listener.Resize(ctx, window); err != nil && ctx.Err() == nil {
		p.e.log.Debug("window not changed", "queue", p.spec.Name, "error", err)
	}
	p.passOn(ctx, excess)
}

// passOn hints others at what this pool will not claim soon. If that fails, the dispatcher does it later.
func (p *pool) passOn(ctx context.Context, hints []backend.Hint) {
	if len(hints) == 0 {
		return
	}
	ids := make([]string, len(hints))
	for i, h := range hints {
		ids[i] = h.ID
	}
	if _, err := p.e.ports.Transport.Hint(ctx, p.spec.Name, ids); err != nil && ctx.Err() == nil {
		p.e.log.Debug("hints not passed on", "queue", p.spec.Name, "error", err)
	}
	for _, h := range hints {
		h.Done()
	}
}
