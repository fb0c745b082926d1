package runtime

// An ActionOption tells who makes a change and why: see [By] and [Reason]. It is an option of all methods of App that
// change tasks, queues and jobs, so it is a [SubmitOption] for [App.RetryTask], a [LimitOption], a [JobOption] for
// [App.PutJob], and a [BulkOption]. A change with [By] is recorded: see [App.Audit].
type ActionOption func(*action)

// An action is who makes a change and why.
type action struct{ By, Reason string }

// By names who makes a change, such as a user of an admin page: at most 200 bytes. The change is recorded in the audit
// log. Without By it is not.
func By(name string) ActionOption { return func(a *action) { a.By = name } }

// Reason tells why a change is made: at most 1,000 bytes. It is kept with the change and in the audit log. The
// error of a stopped task has it as its message.
func Reason(text string) ActionOption { return func(a *action) { a.Reason = text } }

func (f ActionOption) applySubmit(o *TaskOptions)   { f(&o.action) }
func (f ActionOption) applySubtasks(o *TaskOptions) { f(&o.action) }
func (f ActionOption) applyLimit(o *limitOptions)   { f(&o.action) }
func (f ActionOption) applyJob(o *JobOptions)       { f(&o.action) }
func (f ActionOption) applyBulk(o *bulkOptions)     { f(&o.action) }

// actionOf returns the action of options, or an error if one is too long or not UTF-8.
func actionOf(opts []ActionOption) (action, error) {
	var a action
	for _, opt := range opts {
		if opt != nil {
			opt(&a)
		}
	}
	return a, a.check()
}

const (
	maxBy     = 200
	maxReason = 1000
)

func (a action) check() error {
	if len(a.By) > maxBy || len(a.Reason) > maxReason {
		return Errorf(ErrInvalidArgument, "by %.80q of %d bytes, reason %.80q of %d bytes: at most %d and %d are allowed",
			a.By, len(a.By), a.Reason, len(a.Reason), maxBy, maxReason).With(OutcomeNotSent)
	}
	return nil
}
