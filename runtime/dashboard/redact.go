package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// redacted is an API that shows payloads as RedactPayload returns them. Values are copied: an API may return what it
// keeps.
type redacted struct {
	admin.API
	redact func(queue string, value json.RawMessage) json.RawMessage
}

func (r *redacted) value(queue string, value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		return value
	}
	return r.redact(queue, slices.Clone(value))
}

func (r *redacted) task(t *af.Task) {
	t.Payload, t.Result = r.value(t.Queue, t.Payload), r.value(t.Queue, t.Result)
	t.Progress = r.value(t.Queue, t.Progress)
	if t.Error != nil && len(t.Error.Details) > 0 {
		e := *t.Error
		e.Details = r.details(t.Queue, e.Details)
		t.Error = &e
	}
}

func (r *redacted) details(queue string, details []af.ErrorDetail) []af.ErrorDetail {
	details = slices.Clone(details)
	for i := range details {
		details[i].Value = r.value(queue, details[i].Value)
	}
	return details
}

// Call redacts the result and the details of an error.
func (r *redacted) Call(ctx context.Context, c admin.Call, a admin.Action) (json.RawMessage, error) {
	reply, err := r.API.Call(ctx, c, a)
	method := c.Service + "." + c.Method
	if e, ok := errors.AsType[*af.Error](err); ok && len(e.Details) > 0 {
		shown := *e
		shown.Details = r.details(method, e.Details)
		err = &shown
	}
	return r.value(method, reply), err
}

// refuse returns an error if a query would tell about payloads.
func (r *redacted) refuse(q af.TaskQuery) error {
	if len(q.Filter.Payload) > 0 {
		return af.NewError(af.ErrPermissionDenied, "payloads are redacted here, so tasks can't be filtered by them").
			With(af.OutcomeNotSent)
	}
	return nil
}

func (r *redacted) explanation(e *admin.Explanation) {
	e.Rules = slices.Clone(e.Rules)
	for i := range e.Rules {
		e.Rules[i].Evidence.Progress = r.value(e.Queue, e.Rules[i].Evidence.Progress)
	}
}

func (r *redacted) Tasks(ctx context.Context, q af.TaskQuery) (af.TaskPage, error) {
	if err := r.refuse(q); err != nil {
		return af.TaskPage{}, err
	}
	p, err := r.API.Tasks(ctx, q)
	p.Tasks = slices.Clone(p.Tasks)
	for i := range p.Tasks {
		r.task(&p.Tasks[i])
	}
	return p, err
}

func (r *redacted) Task(ctx context.Context, id string) (admin.Task, error) {
	t, err := r.API.Task(ctx, id)
	r.task(&t.Task)
	if t.Why != nil {
		e := *t.Why
		r.explanation(&e)
		t.Why = &e
	}
	return t, err
}

func (r *redacted) Why(ctx context.Context, id string) (admin.Explanation, error) {
	e, err := r.API.Why(ctx, id)
	r.explanation(&e)
	return e, err
}

func (r *redacted) Job(ctx context.Context, id string) (af.Job, error) {
	j, err := r.API.Job(ctx, id)
	j.Payload = r.value(j.Queue, j.Payload)
	return j, err
}

func (r *redacted) Jobs(ctx context.Context, q af.JobQuery) (af.JobPage, error) {
	p, err := r.API.Jobs(ctx, q)
	p.Jobs = slices.Clone(p.Jobs)
	for i := range p.Jobs {
		p.Jobs[i].Payload = r.value(p.Jobs[i].Queue, p.Jobs[i].Payload)
	}
	return p, err
}

func (r *redacted) StopTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	if err := r.refuse(q); err != nil {
		return admin.BulkResult{}, err
	}
	return r.API.StopTasks(ctx, q, a)
}

func (r *redacted) RetryTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	if err := r.refuse(q); err != nil {
		return admin.BulkResult{}, err
	}
	return r.API.RetryTasks(ctx, q, a)
}

func (r *redacted) DeleteTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	if err := r.refuse(q); err != nil {
		return admin.BulkResult{}, err
	}
	return r.API.DeleteTasks(ctx, q, a)
}
