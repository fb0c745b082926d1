package admin

import (
	"context"

	af "github.com/afgen/afgen/runtime"
)

// An actor makes changes that tell who makes them and why.
type actor interface {
	StopTask(ctx context.Context, id string, opts ...af.ActionOption) error
	ResumeQueue(ctx context.Context, name string, opts ...af.ActionOption) error
	ResetMaxWorkers(ctx context.Context, name, ip string, opts ...af.ActionOption) error
	RemoveJob(ctx context.Context, id string, opts ...af.ActionOption) error
	EnableJob(ctx context.Context, id string, opts ...af.ActionOption) error
	DisableJob(ctx context.Context, id string, opts ...af.ActionOption) error
	RunJob(ctx context.Context, id string, opts ...af.ActionOption) (string, error)
}

// acting returns the App as an actor. An App whose methods take no options records nothing.
func acting(app *af.App) actor {
	if a, ok := any(app).(actor); ok {
		return a
	}
	return silent{app}
}

type silent struct{ app *af.App }

func (s silent) StopTask(ctx context.Context, id string, _ ...af.ActionOption) error {
	return s.app.StopTask(ctx, id)
}

func (s silent) ResumeQueue(ctx context.Context, name string, _ ...af.ActionOption) error {
	return s.app.ResumeQueue(ctx, name)
}

func (s silent) ResetMaxWorkers(ctx context.Context, name, ip string, _ ...af.ActionOption) error {
	return s.app.ResetMaxWorkers(ctx, name, ip)
}

func (s silent) RemoveJob(ctx context.Context, id string, _ ...af.ActionOption) error {
	return s.app.RemoveJob(ctx, id)
}

func (s silent) EnableJob(ctx context.Context, id string, _ ...af.ActionOption) error {
	return s.app.EnableJob(ctx, id)
}

func (s silent) DisableJob(ctx context.Context, id string, _ ...af.ActionOption) error {
	return s.app.DisableJob(ctx, id)
}

func (s silent) RunJob(ctx context.Context, id string, _ ...af.ActionOption) (string, error) {
	return s.app.RunJob(ctx, id)
}
