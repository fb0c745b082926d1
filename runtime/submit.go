package runtime

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/ids"
	"github.com/afgen/afgen/runtime/internal/submit"
)

// SubmitTasks submits tasks, through the submit middleware. It implements [TaskClient]. Generated queues call it.
func (a *App) SubmitTasks(ctx context.Context, s Submission) ([]string, error) {
	return a.submitter.SubmitTasks(ctx, s)
}

// submit stores the tasks of a submission. It is the end of the chain of submit middleware.
func (a *App) submit(ctx context.Context, s Submission) (stored []string, err error) {
	var created int
	if h := a.hooks; h != nil {
		var end func(instrument.End)
		is := s.internal()
		ctx, end = h.Submit(ctx, is.Start())
		defer func() { h.EndSubmit(end, stored, created, err) }()
	}
	s.Options.report(false)
	c, err := a.active()
	if err != nil {
		return nil, err
	}
	s.metadata, s.trace = a.joined(ctx, nil, outgoing(ctx))
	if err := s.check(); err != nil {
		return nil, err.With(OutcomeNotSent)
	}
	if s.Options.RequireWorker {
		if err := c.requireWorker(ctx, s.Worker.Name); err != nil {
			return nil, err
		}
	}
	if s.IsSubtasks {
		if err := outsideTx(ctx, "submitting subtasks"); err != nil {
			return nil, err
		}
		stored, err = c.subtasks(ctx, s)
		created = len(stored)
		return stored, err
	}
	is := s.internal()
	tasks := make([]backend.NewTask, len(s.Payloads))
	for i := range s.Payloads {
		tasks[i] = is.Task(i, ids.NewTask())
	}
	stored, created, err = c.client.Insert(ctx, tasks)
	s.Options.report(err == nil && created > 0 && created == len(tasks))
	err = submit.WithID(err, tasks)
	if err != nil && len(stored) > 0 { // repeating the call would submit the first tasks twice
		err = Errorf(CodeOf(err), "the first %d of %d tasks are stored, possibly more: %w", len(stored), len(tasks), err)
	}
	if len(stored) > 0 && !s.Stored {
		c.client.WakeFor(ctx, s.Worker.Name, stored)
	} else if len(stored) > 0 && !c.ports.Transport.Ids() {
		c.client.WakeFor(ctx, s.Worker.Name, nil) // if hints have no ids, nothing else wakes an idle pool
	}
	return stored, err
}

// internal converts a submission for package submit.
func (s *Submission) internal() submit.Submission {
	o := &s.Options
	return submit.Submission{
		Queue: s.Worker.Name, Fingerprint: s.Worker.Payload, Weight: s.Worker.Weight, Payloads: s.Payloads,
		Stored: s.Stored, Source: s.Source, IsSubtasks: s.IsSubtasks, Trace: s.trace, Metadata: s.metadata,
		Options: submit.Options{
			ID: o.ID, UniqueKey: o.UniqueKey, Batch: o.Batch, Weight: o.Weight, RunAt: o.RunAt, Delay: o.Delay,
			Deadline: o.Deadline, Timeout: o.Timeout, Retries: o.Retries, OnFailure: o.OnFailure, Created: o.Created != nil,
		},
	}
}

// check returns an error if a submission is not valid.
func (s *Submission) check() *Error {
	if err := s.Options.checkOnlyRetry(); err != nil {
		return err
	}
	is := s.internal()
	return is.Check()
}

// outsideTx returns an error if ctx has a transaction of the caller, for operations that can't be part of one.
func outsideTx(ctx context.Context, doing string) error {
	if backend.TxFrom(ctx) == nil {
		return nil
	}
	return Errorf(ErrFailedPrecondition, "%s is not possible in a transaction; use another context after the commit",
		doing).With(OutcomeNotSent)
}

// SubmittedID returns the id of the task that a failed Submit or Store may have stored. err is its error, which then
// has [OutcomeUnknown]. Submitting again with this id, by [TaskID], stores the task exactly once. For any other error
// SubmittedID returns "".
func SubmittedID(err error) string {
	return submit.IDOf(err)
}

// requireWorker returns an error if no worker of a queue is running.
func (c *core) requireWorker(ctx context.Context, queue string) error {
	running, err := c.registry.HasWorker(ctx, queue)
	if err != nil {
		return err
	}
	if !running {
		return Errorf(ErrFailedPrecondition, "no worker of queue %q is running%s", queue, c.app.location()).
			With(OutcomeNotSent)
	}
	return nil
}

// subtasks stores a batch of subtasks.
func (c *core) subtasks(ctx context.Context, s Submission) ([]string, error) {
	if err := c.inherit(ctx, &s); err != nil {
		return nil, fmt.Errorf("subtasks of %s: %w", s.Source, err)
	}
	batch, all, undo := subtaskBatch(ctx, s)
	ids, err := c.client.Subtasks(ctx, backend.Spawn{
		Source: s.Source, Batch: batch, Now: s.Options.RunNow, Count: len(all), Fence: fenceOf(ctx, s.Source),
	}, s.Worker.Name, all)
	if err != nil {
		undo()
	}
	return ids, err
}

// subtaskBatch returns the tasks of a batch of subtasks, and its name and undo as submit.Submission.Batch does.
func subtaskBatch(ctx context.Context, s Submission) (batch string, all []backend.NewTask, undo func()) {
	is := s.internal()
	var calls *atomic.Int64
	if r := TaskFrom(ctx); r != nil && r.ID == s.Source {
		calls = &r.batches
	}
	batch, undo = is.Batch(calls)
	return batch, is.Subtasks(batch), undo
}

// inherit adds the metadata of their source to subtasks, and its trace if ctx has none.
func (c *core) inherit(ctx context.Context, s *Submission) error {
	var from Metadata
	if r := TaskFrom(ctx); r != nil && r.ID == s.Source { // whose trace is that of ctx
		from = r.metadata
	} else {
		source, err := c.getTask(ctx, s.Source)
		if err != nil {
			return err
		}
		from, s.trace = source.Metadata, cmp.Or(s.trace, source.Trace)
	}
	s.metadata, _ = c.app.hooks.Join(ctx, from, outgoing(ctx))
	return backend.ValidateMetadata(s.metadata)
}

// fenceOf returns the fence of the attempt of source whose handler owns ctx, or 0 if ctx has no such handler.
func fenceOf(ctx context.Context, source string) int64 {
	if r := TaskFrom(ctx); r != nil && r.ID == source {
		return r.Fence
	}
	return 0
}
