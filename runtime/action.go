package runtime

import (
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/audit"
)

// An ActionOption tells who makes a change and why: see [By] and [Reason]. It is an option of all methods of App that
// change tasks, queues and jobs, so it is a [SubmitOption] for [App.RetryTask], a [LimitOption], a [JobOption] for
// [App.PutJob], and a [BulkOption]. Submitting a task with one returns [ErrInvalidArgument]. A change with [By] is
// recorded: see [App.Audit].
type ActionOption func(*action)

// An action is who makes a change and why.
type action = audit.Action

// By names who makes a change, such as a user of an admin page: at most 200 bytes. The change is recorded in the audit
// log. Without By it is not.
func By(name string) ActionOption { return func(a *action) { a.By = name } }

// Reason tells why a change is made: at most 1,000 bytes. It is kept with the change and in the audit log. The
// error of a stopped task has it as its message.
func Reason(text string) ActionOption { return func(a *action) { a.Reason = text } }

func (f ActionOption) applySubmit(o *TaskOptions)   { f.apply(&o.action) }
func (f ActionOption) applySubtasks(o *TaskOptions) { f.apply(&o.action) }
func (f ActionOption) applyLimit(o *limitOptions)   { f.apply(&o.action) }
func (f ActionOption) applyJob(o *JobOptions)       { f.apply(&o.action) }
func (f ActionOption) applyBulk(o *bulkOptions)     { f.apply(&o.action) }

func (f ActionOption) apply(a *action) {
	if f != nil {
		f(a)
	}
}

// acting returns the App's core, and the action of options. It returns an error if the action is invalid, or can't be
// recorded.
func (a *App) acting(opts []ActionOption) (*core, action, error) {
	var act action
	for _, opt := range opts {
		opt.apply(&act)
	}
	c, err := a.activeFor(act)
	return c, act, err
}

// activeFor is acting for options that are applied already.
func (a *App) activeFor(act action) (*core, error) {
	c, err := a.active()
	switch {
	case err != nil:
		return nil, err
	case act.By != "" && c.audit == nil:
		return nil, Errorf(ErrUnimplemented, "backend %q does not support an audit log", a.ports.Name).With(OutcomeNotSent)
	}
	return c, act.Check()
}

// checkOnlyRetry returns an error if options are set that have an effect on RetryTask only.
func (o *TaskOptions) checkOnlyRetry() *Error {
	what := ""
	switch {
	case o.action != action{}:
		what = "By and Reason are options"
	case o.replace:
		what = "Replace is an option"
	case o.payload != nil:
		what = "Payload is an option"
	default:
		return nil
	}
	return backend.Errorf(ErrInvalidArgument, "%s of App.RetryTask, not of submitting tasks", what)
}
