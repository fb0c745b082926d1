package fault

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// wrap puts ports behind a path. b is nil if the path isn't a process's; then hints, calls and events are left alone.
func wrap(in *backend.Ports, p path, b *Backend) *backend.Ports {
	out := *in
	if in.Store != nil {
		out.Store = store{in.Store, p}
	}
	if in.Docs != nil {
		out.Docs = docs{in.Docs, p}
	}
	if b == nil {
		return &out
	}
	if in.Transport != nil {
		out.Transport = transport{in.Transport, b}
	}
	if in.Coordinator != nil {
		out.Coordinator = coordinator{in.Coordinator, b}
	}
	if in.Calls != nil {
		out.Calls = calls{in.Calls, b}
	}
	return &out
}

type store struct {
	in backend.Store
	p  path
}

func (s store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	return through(ctx, s.p, call{"Insert", tasks, toStore}, func(ctx context.Context) ([]backend.Task, error) {
		return s.in.Insert(ctx, tasks)
	})
}

type claimed struct {
	tasks []backend.Task
	next  time.Duration
}

func (s store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	r, err := through(ctx, s.p, call{"Claim", c, toStore}, func(ctx context.Context) (r claimed, err error) {
		r.tasks, r.next, err = s.in.Claim(ctx, c)
		return r, err
	})
	return r.tasks, r.next, err
}

func (s store) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	return through(ctx, s.p, call{"Settle", settles, toStore}, func(ctx context.Context) ([]backend.Settled, error) {
		return s.in.Settle(ctx, settles)
	})
}

func (s store) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	return through(ctx, s.p, call{"MarkRetried", id, toStore}, func(ctx context.Context) (string, error) {
		return s.in.MarkRetried(ctx, id, from, to)
	})
}

func (s store) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	return only(ctx, s.p, call{"Progress", id, toStore}, func(ctx context.Context) error {
		return s.in.Progress(ctx, id, fence, progress)
	})
}

// A counter is an owner with its counter, as in Beat and ExpireOwner.
type counter struct {
	owner string
	count int64
}

func (s store) Beat(ctx context.Context, owner string, count int64) error {
	return only(ctx, s.p, call{"Beat", counter{owner, count}, toStore}, func(ctx context.Context) error {
		return s.in.Beat(ctx, owner, count)
	})
}

func (s store) Drain(ctx context.Context, owner string) error {
	return only(ctx, s.p, call{"Drain", owner, toStore}, func(ctx context.Context) error { return s.in.Drain(ctx, owner) })
}

func (s store) Owners(ctx context.Context) (map[string]backend.Heartbeat, error) {
	return through(ctx, s.p, call{"Owners", nil, toStore}, s.in.Owners)
}

func (s store) ExpireOwner(ctx context.Context, owner string, count int64, maxCrashes int) ([]backend.Task, error) {
	return through(ctx, s.p, call{"ExpireOwner", counter{owner, count}, toStore},
		func(ctx context.Context) ([]backend.Task, error) {
			return s.in.ExpireOwner(ctx, owner, count, maxCrashes)
		})
}

func (s store) Refund(ctx context.Context, owner string) error {
	return only(ctx, s.p, call{"Refund", owner, toStore},
		func(ctx context.Context) error { return s.in.Refund(ctx, owner) })
}

func (s store) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	return through(ctx, s.p, call{"Owned", owner, toStore}, func(ctx context.Context) ([]backend.Owned, error) {
		return s.in.Owned(ctx, owner)
	})
}

type promoted struct {
	ids    []string
	failed []backend.Task
	next   time.Duration
}

func (s store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	r, err := through(ctx, s.p, call{"Promote", queue, toStore}, func(ctx context.Context) (r promoted, err error) {
		r.ids, r.failed, r.next, err = s.in.Promote(ctx, queue, max)
		return r, err
	})
	return r.ids, r.failed, r.next, err
}

func (s store) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	return through(ctx, s.p, call{"Promotable", queues, toStore}, func(ctx context.Context) ([]string, error) {
		return s.in.Promotable(ctx, queues, within)
	})
}

func (s store) Spawn(ctx context.Context, sp backend.Spawn) error {
	return only(ctx, s.p, call{"Spawn", sp, toStore}, func(ctx context.Context) error { return s.in.Spawn(ctx, sp) })
}

// A batchID identifies a batch of subtasks.
type batchID struct{ source, batch string }

func (s store) Discard(ctx context.Context, source, batch string) error {
	return only(ctx, s.p, call{"Discard", batchID{source, batch}, toStore}, func(ctx context.Context) error {
		return s.in.Discard(ctx, source, batch)
	})
}

func (s store) Open(ctx context.Context, source string) ([]string, error) {
	return through(ctx, s.p, call{"Open", source, toStore}, func(ctx context.Context) ([]string, error) {
		return s.in.Open(ctx, source)
	})
}

type finished struct {
	all   bool
	queue string
}

func (s store) Finish(ctx context.Context, source string) (bool, string, error) {
	r, err := through(ctx, s.p, call{"Finish", source, toStore}, func(ctx context.Context) (r finished, err error) {
		r.all, r.queue, err = s.in.Finish(ctx, source)
		return r, err
	})
	return r.all, r.queue, err
}

// Stop returns the tasks instead of passing them to st.Each: the log must see them, and Each must not run inside a
// call that may be slow.
func (s store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	st.Each = nil
	return through(ctx, s.p, call{"Stop", st, toStore}, func(ctx context.Context) ([]backend.Task, error) {
		return s.in.Stop(ctx, st)
	})
}

func (s store) Unfinished(ctx context.Context, age time.Duration, max int) ([]backend.Unfinished, error) {
	return through(ctx, s.p, call{"Unfinished", nil, toStore}, func(ctx context.Context) ([]backend.Unfinished, error) {
		return s.in.Unfinished(ctx, age, max)
	})
}

func (s store) Now(ctx context.Context) (time.Time, error) {
	return through(ctx, s.p, call{"Now", nil, toStore}, s.in.Now)
}

func (s store) Get(ctx context.Context, id string) (backend.Task, error) {
	return through(ctx, s.p, call{"Get", id, toStore}, func(ctx context.Context) (backend.Task, error) {
		return s.in.Get(ctx, id)
	})
}

func (s store) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	return through(ctx, s.p, call{"Statuses", nil, toStore}, func(ctx context.Context) (map[string]backend.Status, error) {
		return s.in.Statuses(ctx, ids)
	})
}

func (s store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	return through(ctx, s.p, call{"List", q, toStore}, func(ctx context.Context) (backend.TaskPage, error) {
		return s.in.List(ctx, q)
	})
}

func (s store) Purge(ctx context.Context, r backend.Retention, max int) (int, error) {
	return through(ctx, s.p, call{"Purge", r, toStore}, func(ctx context.Context) (int, error) {
		return s.in.Purge(ctx, r, max)
	})
}

// A docWrite is a write or a deletion of a document.
type docWrite struct {
	name  string
	value json.RawMessage // nil when it is deleted
}

type docs struct {
	in backend.Docs
	p  path
}

func (d docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	return through(ctx, d.p, call{"Docs.Get", name, toStore}, func(ctx context.Context) (backend.Doc, error) {
		return d.in.Get(ctx, name)
	})
}

func (d docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	return through(ctx, d.p, call{"Docs.PutIf", docWrite{name, value}, toStore}, func(ctx context.Context) (int64, error) {
		return d.in.PutIf(ctx, name, rev, value)
	})
}

func (d docs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	return through(ctx, d.p, call{"Docs.GetAll", nil, toStore}, func(ctx context.Context) ([]backend.Doc, error) {
		return d.in.GetAll(ctx, names)
	})
}

func (d docs) PutAll(ctx context.Context, all []backend.Doc) ([]backend.Put, error) {
	return through(ctx, d.p, call{"Docs.PutAll", all, toStore}, func(ctx context.Context) ([]backend.Put, error) {
		return d.in.PutAll(ctx, all)
	})
}

func (d docs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	return through(ctx, d.p, call{"Docs.List", prefix, toStore}, func(ctx context.Context) ([]backend.Doc, error) {
		return d.in.List(ctx, prefix)
	})
}

func (d docs) Delete(ctx context.Context, name string, rev int64) error {
	return only(ctx, d.p, call{"Docs.Delete", docWrite{name: name}, toStore}, func(ctx context.Context) error {
		return d.in.Delete(ctx, name, rev)
	})
}
