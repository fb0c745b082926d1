package admin

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// A Kind is a kind of things that [Reader.Watch] watches.
type Kind string

// The kinds of ticks.
const (
	KindStart     Kind = "start"     // the first tick: what was read before may be outdated
	KindHealth    Kind = "health"    // the App's health has changed
	KindQueues    Kind = "queues"    // IDs are names of queues whose counts, limits or workers have changed
	KindTasks     Kind = "tasks"     // IDs are of tasks that are new or have changed
	KindJobs      Kind = "jobs"      // IDs are of jobs that have changed or fired
	KindInstances Kind = "instances" // IDs are of instances that came, went, changed, or beat: every 10 s
)

// A WatchQuery selects what [Reader.Watch] watches.
type WatchQuery struct {
	Kinds []Kind   // none means all
	Tasks []string // ids of tasks to watch, whenever they were submitted: at most 20
}

// A Tick tells that something has changed; what has changed must be read again. IDs are sorted. They may be incomplete:
// of tasks, the newest 100 and the last 100 that have ended are watched, and those of the query.
type Tick struct {
	Kind Kind     `json:"kind"`
	IDs  []string `json:"ids,omitempty"`
}

const (
	watchEvery = time.Second
	beatsEvery = 10 * time.Second // after which heartbeats count as a change of an instance
	maxWatched = 20               // tasks of a query
	watchBytes = 1 << 20          // of a page of tasks
	watchShare = 20               // a kind is read for at most one part in so many of the time
	watchMost  = 10 * time.Second // between reads, however long they take
)

var kinds = []Kind{KindHealth, KindQueues, KindTasks, KindJobs, KindInstances}

// Watch polls: the store has no events for most of what changes. All watchers of an API share what is read, so its cost
// does not depend on their number: about one read of each kind a second, two of tasks, and ten of tasks of queries. If
// these name more tasks that have not ended, each is read less often, as is a kind that takes long to read. Nothing is
// read without watchers.
func (d *direct) Watch(ctx context.Context, q WatchQuery) iter.Seq2[Tick, error] {
	return func(yield func(Tick, error) bool) {
		if len(q.Tasks) > maxWatched {
			yield(Tick{}, refused(af.ErrInvalidArgument, "%d tasks to watch exceed the maximum of %d", len(q.Tasks), maxWatched))
			return
		}
		watched := q.Kinds
		if len(watched) == 0 {
			watched = kinds
		}
		for _, k := range watched {
			if !slices.Contains(kinds, k) {
				yield(Tick{}, refused(af.ErrInvalidArgument, "unknown kind %q", k))
				return
			}
		}
		seen := map[Kind]look{}
		timer := time.NewTicker(watchEvery)
		defer timer.Stop()
		for first := true; ; first = false {
			ticks := []Tick{}
			for _, k := range watched {
				now, err := d.looks.at(ctx, k)
				if err == nil && k == KindTasks {
					now, err = d.withTasks(ctx, now, q.Tasks)
				}
				switch {
				case ctx.Err() != nil:
					yield(Tick{}, ended(ctx))
					return
				case transient(err):
					continue // seen stays: the change is seen later
				case err != nil:
					yield(Tick{}, err)
					return
				}
				if before, ok := seen[k]; ok {
					if ids := now.changed(before); len(ids) > 0 {
						ticks = append(ticks, Tick{Kind: k, IDs: ids})
					}
				} else if !first { // it could not be read before
					ticks = append(ticks, Tick{Kind: k})
				}
				seen[k] = now
			}
			if first {
				ticks = append(ticks, Tick{Kind: KindStart})
			}
			for _, t := range ticks {
				if !yield(t, nil) {
					return
				}
			}
			select {
			case <-timer.C:
			case <-ctx.Done():
				yield(Tick{}, ended(ctx))
				return
			}
		}
	}
}

// transient reports whether a watcher outlasts an error: something is unavailable, or the backend does not have it.
func transient(err error) bool {
	switch af.CodeOf(err) {
	case af.ErrUnavailable, af.ErrDeadlineExceeded, af.ErrUnimplemented:
		return true
	}
	return false
}

// withTasks returns a look with more tasks.
func (d *direct) withTasks(ctx context.Context, l look, ids []string) (look, error) {
	if len(ids) == 0 {
		return l, nil
	}
	more := make(look, len(l)+len(ids))
	for id, sum := range l {
		more[id] = sum
	}
	for _, id := range ids {
		sum, ok, err := d.looks.tasks.at(ctx, id)
		if err != nil {
			return nil, err
		}
		if ok {
			more[id] = sum
		}
	}
	return more, nil
}

// A look is what a kind looked like: hashes by id.
type look map[string]uint64

var seed = maphash.MakeSeed()

func (l look) add(id string, state any) { l[id] = sumOf(state) }

func sumOf(state any) uint64 {
	raw, err := json.Marshal(state)
	if err != nil { // then it always counts as changed
		raw = []byte(time.Now().String())
	}
	return maphash.Bytes(seed, raw)
}

// changed returns the ids that differ from an earlier look, sorted.
func (l look) changed(before look) []string {
	var ids []string
	for id, sum := range l {
		if was, ok := before[id]; !ok || was != sum {
			ids = append(ids, id)
		}
	}
	for id := range before {
		if _, ok := l[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// looks reads what watchers watch, each kind once for all of them.
type looks struct {
	kinds map[Kind]*shared
	tasks *taskLooks
}

// shared is the last look at a kind.
type shared struct {
	read func(ctx context.Context) (look, error)
	turn chan struct{} // holds a value while a watcher reads; guards the rest

	last look
	when time.Time
	took time.Duration
}

func newLooks(app *af.App) *looks {
	l := &looks{kinds: map[Kind]*shared{}, tasks: newTaskLooks(app)}
	for k, read := range map[Kind]func(context.Context, *af.App) (look, error){
		KindHealth: lookHealth, KindQueues: lookQueues, KindTasks: new(endedLook).lookTasks, KindJobs: lookJobs,
		KindInstances: lookInstances,
	} {
		l.kinds[k] = &shared{turn: make(chan struct{}, 1),
			read: func(ctx context.Context) (look, error) { return read(ctx, app) }}
	}
	return l
}

// at returns a look that is younger than a tick, or than some ticks if it takes long. It must not be modified.
func (l *looks) at(ctx context.Context, k Kind) (look, error) {
	s := l.kinds[k]
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	defer func() { <-s.turn }()
	every := max(watchEvery*9/10, min(s.took*watchShare, watchMost))
	if s.last != nil && time.Since(s.when) < every {
		return s.last, nil
	}
	begun := time.Now()
	now, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	s.last, s.when = now, time.Now()
	s.took = s.when.Sub(begun)
	return now, nil
}

func lookHealth(_ context.Context, app *af.App) (look, error) {
	h := app.Health()
	l := look{}
	l.add(h.Instance.ID, h)
	return l, nil
}

func lookQueues(ctx context.Context, app *af.App) (look, error) {
	queues, err := app.Queues(ctx)
	if err != nil {
		return nil, err
	}
	l := look{}
	for _, q := range queues {
		q.Served = time.Time{} // now while a worker runs
		l.add(q.Name, q)
	}
	return l, nil
}

// An endedLook is the last look at the tasks that have ended. It belongs to the reader of KindTasks.
type endedLook struct {
	first uint64 // the last one
	all   look
	read  time.Time
}

// lookTasks looks at the newest tasks and the last ones that have ended. The latter can only be retried or deleted, so
// unless another one has ended they are read less often.
func (e *endedLook) lookTasks(ctx context.Context, app *af.App) (look, error) {
	newest, _, err := lookList(ctx, app, af.TasksByNewest, 100)
	if err != nil {
		return nil, err
	}
	_, first, err := lookList(ctx, app, af.TasksByEnd, 1)
	if err != nil {
		return nil, err
	}
	if first != e.first || time.Since(e.read) >= endedEvery {
		all, first, err := lookList(ctx, app, af.TasksByEnd, 100)
		if err != nil {
			return nil, err
		}
		*e = endedLook{first, all, time.Now()}
	}
	l := maps.Clone(e.all)
	maps.Copy(l, newest)
	return l, nil
}

// lookList looks at a page of tasks. first is the hash of the first one.
func lookList(ctx context.Context, app *af.App, order af.TaskSort, most int) (l look, first uint64, err error) {
	page, err := app.Tasks(ctx, af.TaskQuery{Sort: order, Limit: most, Bytes: watchBytes})
	if err != nil {
		return nil, 0, err
	}
	l = look{}
	for i := range page.Tasks {
		l.add(page.Tasks[i].ID, taskState(&page.Tasks[i]))
	}
	if len(page.Tasks) > 0 {
		first = l[page.Tasks[0].ID]
	}
	return l, first, nil
}

// taskState returns what watchers see of a task.
func taskState(t *af.Task) any {
	h := t.Head()
	h.Progress = t.Progress
	return h
}

func lookJobs(ctx context.Context, app *af.App) (look, error) {
	page, err := app.Jobs(ctx, af.JobQuery{Limit: 1000})
	if err != nil {
		return nil, err
	}
	l := look{}
	for i := range page.Jobs {
		l.add(page.Jobs[i].ID, page.Jobs[i])
	}
	return l, nil
}

func lookInstances(ctx context.Context, app *af.App) (look, error) {
	page, err := app.Instances(ctx, af.InstanceQuery{Limit: 1000})
	if err != nil {
		return nil, err
	}
	l := look{}
	for _, in := range page.Instances {
		in.LastBeat = in.LastBeat.Truncate(beatsEvery)
		in.Expires = time.Time{} // follows LastBeat
		l.add(in.ID, in)
	}
	return l, nil
}
