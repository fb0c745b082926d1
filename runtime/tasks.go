package runtime

// engine returns what runs tasks, where there is one and it has been started.
func (a *App) engine() (*engine, error) {
	if err := a.admit(); err != nil {
		return nil, err
	}
	if a.tasks == nil {
		return nil, Errorf(ErrUnimplemented, "the backend %s keeps no tasks", a.ports.Name).With(OutcomeNotSent)
	}
	return a.tasks, nil
}
