package runtime

import (
	"context"
)

// Snowflake returns an id of 19 decimal digits that is unique on the backend and sorts by time. Package snowflake
// documents its layout and guarantees, and snowflake.Parse decodes it. The first call reserves a node number by a
// write to the backend. Further calls do no I/O. Use [App.NewID] for ids that can't be guessed.
func (a *App) Snowflake(ctx context.Context) (string, error) {
	if err := a.admit(); err != nil {
		return "", err
	}
	return a.process.Snowflake(ctx)
}

func (p ownProcess) Snowflake(ctx context.Context) (string, error) {
	a := p.app
	if a.ports.Docs == nil {
		return "", Errorf(ErrUnimplemented, "backend %q does not support documents", a.ports.Name)
	}
	return a.snowflakes.Next(ctx, a.ports.Docs)
}
