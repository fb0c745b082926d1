package admin

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Facts are what is known about a task when it is explained. They are gathered once, then the rules are applied to them.
type facts struct {
	now  time.Time // of the store's clock, when the rest was read
	task af.Task

	// Of a running task.
	present  bool            // its instance is announced
	instance af.InstanceInfo // if it is announced

	// Of a waiting task.
	source   *af.Task       // of a gated one; nil if it was deleted
	down     []af.Condition // dependencies of the backend that are down
	unlisted bool           // the coordinator is unavailable, so workers are unknown
	limits   af.Limits      // of its queue
	workers  []af.WorkerInfo
	served   time.Time // when a worker was last seen, if there is none; zero if never
	ahead    *af.Count // if a worker could claim it; nil if unknown
	started  float64   // tasks of the queue per minute, lately; 0 if unknown
}

const (
	gatherTries = 3    // if the task changes while facts about it are read
	mostWorkers = 1000 // that are considered
	rateWindow  = 10 * time.Minute
)

// gather reads the facts about a task. It reads the task first and last, so that the facts belong to one state of it. A
// task that changes all the time is explained as it was at first.
func gather(ctx context.Context, app *af.App, id string) (f facts, err error) {
	task, err := app.GetTask(ctx, id)
	for try := 1; err == nil; try++ {
		f = facts{task: task}
		if err = f.read(ctx, app); err != nil {
			break
		}
		if f.now, err = app.Now(ctx); err != nil {
			break
		}
		if task, err = app.GetTask(ctx, id); err != nil || try == gatherTries || sameState(&f.task, &task) {
			break
		}
	}
	return f, err
}

// sameState reports whether a task has not changed in what the rules look at.
func sameState(a, b *af.Task) bool {
	return a.Status == b.Status && a.Fence == b.Fence && a.RunAt.Equal(b.RunAt) && a.Weight == b.Weight &&
		a.Gated == b.Gated && a.Uncommitted == b.Uncommitted && a.Stopping == b.Stopping &&
		(a.Subtasks == nil) == (b.Subtasks == nil)
}

func (f *facts) read(ctx context.Context, app *af.App) error {
	switch t := &f.task; {
	case t.Status.Final():
		return nil
	case t.Status == af.StatusRunning:
		return f.readInstance(ctx, app)
	case t.Gated:
		source, err := app.GetTask(ctx, t.Source)
		if err == nil {
			f.source = &source
		} else if af.CodeOf(err) != af.ErrNotFound {
			return err
		}
	}
	return f.readQueue(ctx, app)
}

// readInstance looks for the instance that runs the task.
func (f *facts) readInstance(ctx context.Context, app *af.App) error {
	if f.task.Instance == "" { // claimed by a version that doesn't tell
		f.present = true
		return nil
	}
	page, err := app.Instances(ctx, af.InstanceQuery{ID: f.task.Instance})
	switch {
	case unknown(err):
		f.present = true
		return nil
	case err != nil:
		return err
	}
	if f.present = len(page.Instances) > 0; f.present {
		f.instance = page.Instances[0]
	}
	return nil
}

// readQueue reads what may keep the tasks of the queue from running.
func (f *facts) readQueue(ctx context.Context, app *af.App) (err error) {
	queue := f.task.Queue
	f.down = downServers(app)
	f.limits, err = app.QueueLimits(ctx, queue)
	if code := af.CodeOf(err); err != nil && code != af.ErrUnimplemented && code != af.ErrDataLoss { // workers ignore these
		return err
	}
	page, err := app.Workers(ctx, af.WorkerQuery{Queue: queue, Limit: mostWorkers, NoWaiting: true})
	switch {
	case unknown(err):
		f.unlisted = true
		return nil
	case err != nil:
		return err
	}
	f.workers = page.Workers
	if len(f.workers) == 0 {
		return f.readServed(ctx, app)
	}
	if n, err := app.Ahead(ctx, f.task.ID); err == nil {
		f.ahead = &n
	} else if !unknown(err) {
		return err
	}
	history, err := app.History(ctx, af.HistoryQuery{Queue: queue, From: time.Now().Add(-rateWindow)})
	if unknown(err) {
		return nil
	}
	for _, p := range history {
		f.started += float64(p.Started) / rateWindow.Minutes()
	}
	return err
}

// readServed reads when the queue had a worker.
func (f *facts) readServed(ctx context.Context, app *af.App) error {
	queues, err := app.Queues(ctx)
	if unknown(err) {
		return nil
	}
	for i := range queues {
		if queues[i].Name == f.task.Queue {
			f.served = queues[i].Served
		}
	}
	return err
}

// unknown reports whether a fact can't be read now, although the store may answer, or is not supported.
func unknown(err error) bool {
	switch af.CodeOf(err) {
	case af.ErrUnavailable, af.ErrUnimplemented, af.ErrDeadlineExceeded:
		return err != nil
	}
	return false
}

// downServers returns the conditions of the backend that are down. Those of an App's own workers, such as results that
// are not stored, are facts about that worker: see WorkerInfo.Refusal.
func downServers(app *af.App) []af.Condition {
	own := []string{"beats", "results", "claims", "handlers", "slots"}
	return slices.DeleteFunc(app.Health().Conditions, func(c af.Condition) bool {
		return c.Up || slices.Contains(own, c.Name)
	})
}

// A claimers is the workers that may claim a task, by what keeps them from it.
type claimers struct {
	live     []af.WorkerInfo // not shutting down
	allowed  []af.WorkerInfo // of these, those at an address that may run the task
	fitting  []af.WorkerInfo // of these, those that don't leave it to workers of its version
	limited  []af.WorkerInfo // of these, those with a limit of 0
	refusing []af.WorkerInfo // of the others, those that claim nothing now
	claiming []af.WorkerInfo // the rest

	slots, taken int // of claiming
	oldest       time.Time
}

// claimers sorts the workers of the task's queue.
func (f *facts) claimers() (c claimers) {
	t := &f.task
	for _, w := range f.workers {
		if w.Draining {
			continue
		}
		c.live = append(c.live, w)
		if allowed(t.Allow, w.Instance.IP) {
			c.allowed = append(c.allowed, w)
		}
	}
	own := slices.ContainsFunc(c.allowed, f.isOfVersion) // other versions leave the task to these
	for _, w := range c.allowed {
		if own && w.Fingerprint != "" && w.Fingerprint != t.Fingerprint {
			continue
		}
		c.fitting = append(c.fitting, w)
		switch {
		case f.limitOf(w.Instance.IP) == 0:
			c.limited = append(c.limited, w)
			continue
		case w.Refusal != "" || w.Applied == 0:
			c.refusing = append(c.refusing, w)
			continue
		}
		c.claiming = append(c.claiming, w)
		c.slots += w.Applied
		c.taken += min(w.Running, w.Applied)
		if o := w.OldestRunning; !o.IsZero() && (c.oldest.IsZero() || o.Before(c.oldest)) {
			c.oldest = o
		}
	}
	return c
}

// isOfVersion reports whether a worker has the task's version and is not limited to 0 tasks. Workers of other versions
// leave the task to such a one.
func (f *facts) isOfVersion(w af.WorkerInfo) bool {
	return f.task.Fingerprint != "" && w.Fingerprint == f.task.Fingerprint && f.limitOf(w.Instance.IP) != 0
}

// limitOf returns the limit that is set for an instance, whether or not the queue is paused, or -1 if it is the worker's
// own.
func (f *facts) limitOf(ip string) int {
	if n, ok := f.limits.At[ip]; ok {
		return n
	}
	if f.limits.Max != nil {
		return *f.limits.Max
	}
	return -1
}

// allowed reports whether an address is one of the addresses and networks of allow, or allow is empty.
func allowed(allow []string, ip string) bool {
	if len(allow) == 0 {
		return true
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(allow, func(text string) bool {
		if strings.Contains(text, "/") {
			p, err := netip.ParsePrefix(text)
			return err == nil && p.Contains(a)
		}
		b, err := netip.ParseAddr(text)
		return err == nil && a == b.Unmap().WithZone("")
	})
}
