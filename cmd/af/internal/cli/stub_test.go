package cli

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A liveAPI is a system that changes while a command looks at it. Its methods return what its fields have; those of nil
// functions panic.
type liveAPI struct {
	admin.API
	mu        sync.Mutex
	overview  func() (admin.Overview, error)
	tasks     []af.Task
	err       error // of each read of tasks
	reads     int   // of pages of tasks
	lines     [][]string
	logErr    error
	instances []af.InstanceInfo
	nodes     []af.Node
	services  []af.ServiceInfo
	jobs      []af.Job
	fires     []af.Fire
	watched   [][]string // the Tasks of each Watch
}

// set changes the system.
func (s *liveAPI) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *liveAPI) Overview(context.Context) (admin.Overview, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overview()
}

// Tasks sorts by end, latest first, or by creation, and cuts pages as an App does.
func (s *liveAPI) Tasks(_ context.Context, q af.TaskQuery) (af.TaskPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.err != nil {
		return af.TaskPage{}, s.err
	}
	var all []af.Task
	for _, t := range s.tasks {
		if (q.Queue == "" || q.Queue == t.Queue) && (len(q.Statuses) == 0 || slices.Contains(q.Statuses, t.Status)) &&
			(q.Code == "" || t.Error != nil && t.Error.Code == q.Code) {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b af.Task) int {
		if q.Sort == af.TasksByEnd {
			return b.Ended.Compare(a.Ended)
		}
		return a.Created.Compare(b.Created)
	})
	from := 0
	if q.Cursor != "" {
		from = slices.IndexFunc(all, func(t af.Task) bool { return t.ID == q.Cursor }) + 1
	}
	page := af.TaskPage{Total: len(all), Tasks: all[from:min(from+q.Limit, len(all))]}
	if from+q.Limit < len(all) {
		page.Cursor = page.Tasks[len(page.Tasks)-1].ID
	}
	return page, nil
}

func (s *liveAPI) Task(_ context.Context, id string) (admin.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return admin.Task{}, s.err
	}
	for _, t := range s.tasks {
		if t.ID == id {
			return admin.Task{Task: t}, nil
		}
	}
	return admin.Task{}, af.Errorf(af.ErrNotFound, "task %q does not exist", id)
}

func (s *liveAPI) Logs(context.Context, string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for _, lines := range s.lines {
			if !yield(lines, nil) {
				return
			}
		}
		if s.logErr != nil {
			yield(nil, s.logErr)
		}
	}
}

// Watch yields a tick of each kind every second, whatever has changed.
func (s *liveAPI) Watch(ctx context.Context, q admin.WatchQuery) iter.Seq2[admin.Tick, error] {
	s.set(func() { s.watched = append(s.watched, q.Tasks) })
	return func(yield func(admin.Tick, error) bool) {
		if !yield(admin.Tick{Kind: admin.KindStart}, nil) {
			return
		}
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				yield(admin.Tick{}, af.NewError(af.ErrCanceled, "canceled"))
				return
			}
			for _, k := range q.Kinds {
				if !yield(admin.Tick{Kind: k, IDs: append([]string{"-"}, q.Tasks...)}, nil) {
					return
				}
			}
		}
	}
}

// cutPage returns a page of a list of two items, unless the limit is 1,000, so that commands must read several pages.
func cutPage[T any](all []T, limit int, cursor string) ([]T, string) {
	from := len(cursor)
	if limit < 1000 {
		limit = min(limit, 2)
	}
	to := min(from+limit, len(all))
	if to == len(all) {
		return all[from:], ""
	}
	return all[from:to], string(make([]byte, to))
}

func (s *liveAPI) Instances(_ context.Context, q af.InstanceQuery) (p af.InstancePage, err error) {
	p.Total = len(s.instances)
	p.Instances, p.Cursor = cutPage(s.instances, q.Limit, q.Cursor)
	return p, nil
}

func (s *liveAPI) Nodes(_ context.Context, q af.NodeQuery) (p af.NodePage, err error) {
	p.Total = len(s.nodes)
	p.Nodes, p.Cursor = cutPage(s.nodes, q.Limit, q.Cursor)
	return p, nil
}

func (s *liveAPI) Services(_ context.Context, q af.ServiceQuery) (p af.ServicePage, err error) {
	all := slices.DeleteFunc(slices.Clone(s.services), func(x af.ServiceInfo) bool {
		return q.Name != "" && q.Name != x.Name
	})
	p.Total = len(all)
	p.Services, p.Cursor = cutPage(all, q.Limit, q.Cursor)
	return p, nil
}

func (s *liveAPI) Jobs(_ context.Context, q af.JobQuery) (p af.JobPage, err error) {
	p.Total = len(s.jobs)
	p.Jobs, p.Cursor = cutPage(s.jobs, q.Limit, q.Cursor)
	return p, nil
}

func (s *liveAPI) Fires(_ context.Context, q af.FireQuery) (p af.FirePage, err error) {
	all := slices.DeleteFunc(slices.Clone(s.fires), func(f af.Fire) bool {
		return q.Job != "" && q.Job != f.Job || q.Skipped != nil && *q.Skipped != (f.Skipped != "") || f.At.Before(q.After)
	})
	p.Total = len(all)
	p.Fires, p.Cursor = cutPage(all, q.Limit, q.Cursor)
	return p, nil
}
