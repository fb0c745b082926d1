package runtime

import "context"

// SubmitTasks implements [TaskClient].
func (a *App) SubmitTasks(context.Context, Submission) ([]string, error) { return nil, a.noTasks() }

// GetTask implements [TaskClient].
func (a *App) GetTask(context.Context, string) (Task, error) { return Task{}, a.noTasks() }

// WaitTask implements [TaskClient].
func (a *App) WaitTask(context.Context, string) (Task, error) { return Task{}, a.noTasks() }

// PutJob implements [TaskClient].
func (a *App) PutJob(context.Context, JobSpec) error { return a.noTasks() }

// noTasks is the answer of an App whose backend keeps no tasks.
func (a *App) noTasks() *Error {
	if err := a.admit(); err != nil {
		return err
	}
	return Errorf(ErrUnimplemented, "the backend %s keeps no tasks", a.ports.Name).With(OutcomeNotSent)
}
