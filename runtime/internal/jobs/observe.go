package jobs

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// The hooks of the instruments of an App. The callers have checked that there are any.

// observe begins the observation of the submission of tasks of a job.
func (c *Catalog) observe(
	ctx context.Context, j *Document, tasks []backend.NewTask,
) (context.Context, func(instrument.End)) {
	start := instrument.Start{Queue: j.Queue, Job: j.id, Tasks: len(tasks), Task: tasks[0].Task.ID}
	for i := range tasks {
		start.Size += len(tasks[i].Task.Payload)
	}
	return c.cfg.Hooks.Submit(ctx, start)
}

// observe begins the observation of the fires of a group, and gives their tasks its trace. It returns the context for the
// insertion of the tasks: that of the fire if there is one, and ctx if several share it.
func (s *Scheduler) observe(ctx context.Context, group []*fire) context.Context {
	h, inserting := s.catalog.cfg.Hooks, ctx
	for _, f := range group {
		if len(f.tasks) == 0 {
			continue
		}
		var of context.Context
		of, f.observed = s.catalog.observe(ctx, f.job, f.tasks)
		metadata, trace := h.Join(of, f.job.Metadata, nil)
		f.ids = nil
		for i := range f.tasks {
			t := &f.tasks[i].Task
			t.Metadata, t.Trace = metadata, trace
			f.ids = append(f.ids, t.ID)
		}
		if len(group) == 1 {
			inserting = of
		}
	}
	return inserting
}

// observeEnd ends the observation of the fires of a group.
func (s *Scheduler) observeEnd(group []*fire) {
	for _, f := range group {
		stored := f.ids
		if f.err != nil {
			stored = nil
		}
		s.catalog.cfg.Hooks.EndSubmit(f.observed, stored, len(stored), f.err)
		f.observed, f.ids = nil, nil
	}
}

// observeFired observes what was carried out, which is now recorded.
func (s *Scheduler) observeFired(batch []*fire, now time.Time) {
	for _, f := range batch {
		for _, p := range f.done {
			due := time.Unix(p.Due, 0)
			e := instrument.Event{Kind: instrument.JobFired, Queue: f.job.Queue, Job: f.job.id, Duration: now.Sub(due)}
			if p.Skip == "" {
				e.Task = FireID(f.job.id, p.Due)
				if !f.stored.IsZero() { // with a slow store, most of the delay may be in this pass
					e.Duration = s.clock.at(f.stored).Sub(due)
				}
			} else {
				e.Kind, e.Reason, e.Tasks = instrument.JobSkipped, p.Skip, 1+p.More
			}
			s.catalog.cfg.Hooks.Observe(e)
		}
	}
}
