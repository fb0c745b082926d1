package runtime

import (
	"container/list"
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A TaskQuery selects tasks; zero fields don't restrict.
type TaskQuery = backend.TaskQuery

// A TaskPage is one page of tasks; its Cursor is that of the next page.
type TaskPage = backend.TaskPage

// A TaskSort is an order of tasks; ids break ties.
type TaskSort = backend.TaskSort

// The orders of tasks.
const (
	TasksByNewest TaskSort = backend.SortNewest // by creation, newest first
	TasksByOldest TaskSort = backend.SortOldest // by creation, oldest first
	TasksByEnd    TaskSort = backend.SortEnded  // by end, latest first; those that have not ended last
)

// Tasks lists the tasks that match q, sorted as asked, a page at a time: set q.Cursor to the page's for the next one, until
// that is "". A page has q.Limit tasks (100, up to 1,000) and q.Bytes bytes (16 MiB, which is the most) at most, so it may have fewer
// tasks than asked for with more to come; one task it has always. Tasks that come or go between two pages may be missed; those that stay are met once. A wrong query is
// invalid_argument.
func (a *App) Tasks(ctx context.Context, q TaskQuery) (TaskPage, error) {
	e, err := a.engine()
	if err != nil {
		return TaskPage{}, err
	}
	var page TaskPage
	err = e.requests.Do(ctx, func(ctx context.Context) (err error) {
		page, err = e.store.List(ctx, q)
		return err
	})
	return page, err
}

// TaskStatus returns the status of a task as the store has it, or [ErrNotFound] if there is no such task, also once
// retention has deleted it. Only while the store is unavailable it returns a final status that this process has read before:
// the last 10,000 are remembered. For one of those it waits at most 10 s for the store.
func (a *App) TaskStatus(ctx context.Context, id string) (Status, error) {
	e, err := a.engine()
	if err != nil {
		return "", err
	}
	remembered, ok := e.finals.get(id)
	if ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, retry.Timeout)
		defer cancel()
	}
	var t Task
	err = e.requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = e.store.Get(ctx, id)
		return err
	})
	switch {
	case ok && err != nil && retry.Unavailable(err):
		return remembered, nil
	case err == nil && t.Status.Final():
		e.finals.put(id, t.Status)
	case err == nil, CodeOf(err) == ErrNotFound:
		e.finals.drop(id) // it was deleted, and the id may be used again
	}
	return t.Status, err
}

// finals are the final statuses of the tasks asked for last, for while the store is unavailable.
type finals struct {
	mu   sync.Mutex
	byID map[string]*list.Element // of order
	used list.List                // of final, the last used first
}

type final struct {
	id     string
	status Status
}

const maxFinals = 10_000

func (f *finals) get(id string) (Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.byID[id]
	if !ok {
		return "", false
	}
	f.used.MoveToFront(at)
	return at.Value.(final).status, true
}

func (f *finals) put(id string, s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.byID[id]; ok {
		at.Value = final{id, s}
		return
	}
	if f.byID == nil {
		f.byID = map[string]*list.Element{}
	}
	f.byID[id] = f.used.PushFront(final{id, s})
	if len(f.byID) > maxFinals {
		last := f.used.Back()
		delete(f.byID, f.used.Remove(last).(final).id)
	}
}

func (f *finals) drop(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.byID[id]; ok {
		delete(f.byID, id)
		f.used.Remove(at)
	}
}
