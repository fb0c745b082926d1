package admin

import (
	"errors"
	"slices"

	af "github.com/afgen/afgen/runtime"
)

// What follows removes what users without the right Payloads may not see. Values are copied: an API may return what it
// keeps.

func redactTask(t *af.Task) {
	t.Payload, t.Result, t.Progress, t.Log, t.Metadata = nil, nil, nil, nil, nil
	if t.Error != nil && t.Error.Details != nil {
		e := *t.Error
		e.Details = nil
		t.Error = &e
	}
}

// withoutDetails returns the error of a call.
func withoutDetails(err error) error {
	if e, ok := errors.AsType[*af.Error](err); ok && e.Details != nil {
		shown := *e
		shown.Details = nil
		return &shown
	}
	return err
}

func redactTasks(p *af.TaskPage) {
	p.Tasks = slices.Clone(p.Tasks)
	for i := range p.Tasks {
		redactTask(&p.Tasks[i])
	}
}

func redactDetail(t *Task) {
	redactTask(&t.Task)
	t.Redacted = true
	if t.Why != nil {
		e := *t.Why
		redactWhy(&e)
		t.Why = &e
	}
}

func redactWhy(e *Explanation) {
	e.Rules = slices.Clone(e.Rules)
	for i := range e.Rules {
		e.Rules[i].Evidence.Progress = nil
	}
}

func redactJob(j *af.Job) { j.Payload, j.Metadata = nil, nil }

func redactJobs(p *af.JobPage) {
	p.Jobs = slices.Clone(p.Jobs)
	for i := range p.Jobs {
		redactJob(&p.Jobs[i])
	}
}
