package runtime

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/jobs"
)

// PutJob adds or replaces a job. It implements [TaskClient]. The first due time is in the future. If a job with the
// same id has the same timetable, its due times continue. If the job is unchanged, nothing is written. A disabled job
// stays disabled. Options may have [By] and [Reason].
func (a *App) PutJob(ctx context.Context, spec JobSpec) error {
	act := spec.Options.action
	c, err := a.activeFor(act)
	if err != nil {
		return err
	}
	if err := spec.checkPut(); err != nil {
		return err
	}
	err = c.jobs.Put(ctx, spec.internal(), jobs.Action(act))
	c.record(ctx, act, audit.JobPut, spec.ID, spec.Cron, err)
	return err
}

// RemoveJob removes a job and its history, but not the tasks that it has submitted. Removing a job that doesn't exist
// has no effect. A program adds its declared jobs again when it starts: disable these instead.
func (a *App) RemoveJob(ctx context.Context, id string, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	err = c.jobs.Remove(ctx, id)
	c.record(ctx, act, audit.JobRemove, id, "", err)
	return err
}

// EnableJob resumes a job, which fires at its due times from now on. It also resumes a job whose due times were decided
// more than an hour ahead because the store's clock was wrong.
func (a *App) EnableJob(ctx context.Context, id string, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	err = c.jobs.Enable(ctx, id, jobs.Action(act))
	c.record(ctx, act, audit.JobEnable, id, "", err)
	return err
}

// DisableJob pauses a job until EnableJob, also across restarts. Tasks that it has submitted are not stopped. After
// DisableJob has returned nil, no scheduler of any process submits a task of the job. A due time that was decided, but
// whose task was not submitted yet, gets a stopped task instead.
func (a *App) DisableJob(ctx context.Context, id string, opts ...ActionOption) error {
	c, act, err := a.acting(opts)
	if err != nil {
		return err
	}
	err = c.jobs.Disable(ctx, id, jobs.Action(act))
	c.record(ctx, act, audit.JobDisable, id, "", err)
	return err
}

// RunJob submits a task of a job now and returns the task's id. It ignores the job's policies and works even if the job
// is disabled. The task has the trace of ctx, and the job's metadata with that of ctx ([WithMetadata]).
func (a *App) RunJob(ctx context.Context, id string, opts ...ActionOption) (string, error) {
	c, act, err := a.acting(opts)
	if err != nil {
		return "", err
	}
	if err := outsideTx(ctx, "running a job"); err != nil {
		return "", err
	}
	task, err := c.jobs.Run(ctx, id, func(ctx context.Context, t *backend.Task) error {
		t.Metadata, t.Trace = a.joined(ctx, t.Metadata, outgoing(ctx))
		return backend.ValidateMetadata(t.Metadata)
	})
	c.record(ctx, act, audit.JobRun, id, task, err)
	return task, err
}
