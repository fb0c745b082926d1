package apptest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Open opens an App that is shut down at the end of the test. It discards the log unless opts set a logger.
func Open(t testing.TB, b af.Backend, opts ...af.AppOption) *af.App {
	t.Helper()
	app, err := af.Open(t.Context(), b, append([]af.AppOption{af.Logger(slog.New(slog.DiscardHandler))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, app) })
	return app
}

// Start opens an App like Open, calls register, which may be nil, and starts it.
func Start(t testing.TB, b af.Backend, register func(*af.App), opts ...af.AppOption) *af.App {
	t.Helper()
	app := Open(t, b, opts...)
	if register != nil {
		register(app)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return app
}

func shutDown(t testing.TB, app *af.App) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := app.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}
