package runtime

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// SubmitTasks submits tasks, through the submit middleware. It implements [TaskClient]. Generated queues call it.
func (a *App) SubmitTasks(ctx context.Context, s Submission) ([]string, error) {
	return a.submitter.SubmitTasks(ctx, s)
}

// submit stores the tasks of a submission. It is the end of the chain of submit middleware.
func (a *App) submit(ctx context.Context, s Submission) ([]string, error) {
	s.Options.report(false)
	c, err := a.active()
	if err != nil {
		return nil, err
	}
	s.addContext(ctx)
	if err := checkSubmission(s); err != nil {
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
		return c.subtasks(ctx, s)
	}
	tasks := make([]backend.NewTask, len(s.Payloads))
	for i := range s.Payloads {
		tasks[i] = newTask(s, i, newTaskID())
	}
	ids, created, err := c.client.Insert(ctx, tasks)
	s.Options.report(err == nil && created > 0 && created == len(tasks))
	err = withSubmittedID(err, tasks)
	if err != nil && len(ids) > 0 { // repeating the call would submit the first tasks twice
		err = Errorf(CodeOf(err), "the first %d of %d tasks are stored, possibly more: %w", len(ids), len(tasks), err)
	}
	if len(ids) > 0 && !s.Stored {
		c.client.WakeFor(ctx, s.Worker.Name, ids)
	} else if len(ids) > 0 && !c.ports.Transport.Ids() {
		c.client.WakeFor(ctx, s.Worker.Name, nil) // if hints have no ids, nothing else wakes an idle pool
	}
	return ids, err
}

// addContext sets what tasks have of the context with which they are submitted.
func (s *Submission) addContext(ctx context.Context) {
	s.trace, s.metadata = TraceFrom(ctx), outgoing(ctx)
}

const (
	maxName   = 255  // bytes of an id or a key that a user chooses
	maxWeight = 1000 // the range is -maxWeight to maxWeight
)

// checkSubmission returns an error if a submission is not valid.
func checkSubmission(s Submission) *Error {
	for _, p := range s.Payloads {
		if len(p) > backend.MaxMessage {
			return Errorf(ErrResourceExhausted, "a payload for queue %q is %d bytes; at most %d are allowed", s.Worker.Name,
				len(p), backend.MaxMessage)
		}
	}
	if err := backend.ValidateMetadata(s.metadata); err != nil {
		return backend.Coded(err)
	}
	o := s.Options
	if err := o.checkOnlyRetry(); err != nil {
		return err
	}
	for what, text := range map[string]string{"TaskID": o.ID, "UniqueKey": o.UniqueKey, "Batch": o.Batch} {
		if len(text) > maxName {
			return Errorf(ErrInvalidArgument, "%s is %d bytes; at most %d are allowed", what, len(text), maxName)
		}
		if !utf8.ValidString(text) { // JSON and some stores would change it
			return Errorf(ErrInvalidArgument, "%s %+q is not UTF-8", what, text)
		}
		if strings.IndexByte(text, 0) >= 0 {
			return Errorf(ErrInvalidArgument, "%s %q contains a NUL byte", what, text)
		}
	}
	if strings.HasSuffix(o.ID, tasks.DoneSuffix) {
		return Errorf(ErrInvalidArgument, "TaskID %q: ids that end in %s are reserved for SubtasksDone", o.ID,
			tasks.DoneSuffix)
	}
	if strings.HasPrefix(o.ID, jobs.TaskPrefix) {
		return Errorf(ErrInvalidArgument, "TaskID %q: ids that begin with %s are reserved for jobs", o.ID, jobs.TaskPrefix)
	}
	if w := o.Weight; w != nil && (*w < -maxWeight || *w > maxWeight) {
		return Errorf(ErrInvalidArgument, "weight %d out of range [-%d, %[2]d]", *w, maxWeight)
	}
	if n := o.Retries; n != nil && (*n < 0 || *n > backend.MaxRetries) {
		return Errorf(ErrInvalidArgument, "retries %d out of range [0, %d]", *n, backend.MaxRetries)
	}
	switch {
	case o.Delay < 0:
		return Errorf(ErrInvalidArgument, "the delay %v is negative", o.Delay)
	case o.Delay > 0 && !o.RunAt.IsZero():
		return NewError(ErrInvalidArgument, "RunAt and Delay can't be combined")
	}
	switch o.OnFailure {
	case "", IgnoreFailures, FailFast, CollectFailures:
	default:
		return Errorf(ErrInvalidArgument, "unknown failure policy %q", o.OnFailure)
	}
	if s.IsSubtasks && (o.ID != "" || o.UniqueKey != "") {
		return NewError(ErrInvalidArgument, "Subtasks does not support TaskID and UniqueKey")
	}
	if s.IsSubtasks && o.Created != nil {
		return NewError(ErrInvalidArgument, "Subtasks does not support Created")
	}
	if s.IsSubtasks && s.Source == "" {
		return NewError(ErrInvalidArgument, "Subtasks: the id of the source is empty")
	}
	return nil
}

// newTask returns the i-th task of a submission.
func newTask(s Submission, i int, id string) backend.NewTask {
	o := s.Options
	t := Task{
		ID: id, Queue: s.Worker.Name, Status: backend.StatusPending, Weight: s.Worker.Weight, Payload: s.Payloads[i],
		Fingerprint: s.Worker.Payload, UniqueKey: o.UniqueKey, RunAt: o.RunAt, Deadline: o.Deadline, Timeout: o.Timeout,
		Retries: o.Retries, Source: s.Source, OnFailure: o.OnFailure, Trace: s.trace, Metadata: s.metadata,
	}
	if o.ID != "" {
		t.ID = o.ID
	}
	if o.Created != nil {
		t.Batch = rand.Text()
	}
	if o.Weight != nil {
		t.Weight = *o.Weight
	}
	if s.Stored || !o.RunAt.IsZero() || o.Delay > 0 || s.IsSubtasks {
		t.Status = backend.StatusWaiting
	}
	return backend.NewTask{Task: t, Delay: o.Delay, Gated: s.IsSubtasks}
}

// outsideTx returns an error if ctx has a transaction of the caller, for operations that can't be part of one.
func outsideTx(ctx context.Context, doing string) error {
	if backend.TxFrom(ctx) == nil {
		return nil
	}
	return Errorf(ErrFailedPrecondition, "%s is not possible in a transaction; use another context after the commit",
		doing).With(OutcomeNotSent)
}

// A submitError is the error of a submission that may have stored its task.
type submitError struct {
	error
	id string
}

func (e *submitError) Unwrap() error { return e.error }

// withSubmittedID returns the error of an insert with the id of the task that it may have stored.
func withSubmittedID(err error, tasks []backend.NewTask) error {
	if err != nil && len(tasks) == 1 && backend.Coded(err).Outcome == OutcomeUnknown {
		return &submitError{err, tasks[0].Task.ID}
	}
	return err
}

// SubmittedID returns the id of the task that a failed Submit or Store may have stored. err is its error, which then
// has [OutcomeUnknown]. Submitting again with this id, by [TaskID], stores the task exactly once. For any other error
// SubmittedID returns "".
func SubmittedID(err error) string {
	if e, ok := errors.AsType[*submitError](err); ok {
		return e.id
	}
	return ""
}

// requireWorker returns an error if no worker of a queue is running.
func (c *core) requireWorker(ctx context.Context, queue string) error {
	present, err := c.ports.Coordinator.Present(ctx, presentWorker+queue)
	if err != nil {
		return backend.AsError(err)
	}
	c.forgetDead(ctx, present)
	if len(present) == 0 {
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

// subtaskBatch returns the tasks of a batch of subtasks, and its name and undo as batchOf does.
func subtaskBatch(ctx context.Context, s Submission) (batch string, all []backend.NewTask, undo func()) {
	batch, undo = batchOf(ctx, s)
	all = make([]backend.NewTask, len(s.Payloads))
	for i := range s.Payloads {
		all[i] = newTask(s, i, backend.SubtaskID(s.Source, batch, i))
		all[i].Task.Batch = batch
	}
	return batch, all, undo
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
	s.metadata = from.with(ctx)
	return backend.ValidateMetadata(s.metadata)
}

// fenceOf returns the fence of the attempt of source whose handler owns ctx, or 0 if ctx has no such handler.
func fenceOf(ctx context.Context, source string) int64 {
	if r := TaskFrom(ctx); r != nil && r.ID == source {
		return r.Fence
	}
	return 0
}

// batchOf returns the name of a batch. It is the same when a handler runs again. The caller must call undo if it fails,
// so that a repeated call in the same run has the same name: the failed call may have stored the batch.
func batchOf(ctx context.Context, s Submission) (batch string, undo func()) {
	undo = func() {}
	if s.Options.Batch != "" {
		return "k-" + s.Options.Batch, undo
	}
	if r := TaskFrom(ctx); r != nil && r.ID == s.Source {
		n := r.batches.Add(1)
		return strconv.FormatInt(n, 10), func() { r.batches.CompareAndSwap(n, n-1) }
	}
	return rand.Text(), undo
}
