package runtime_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

const (
	locationClause = " is running on /srv/shop/af.db, configured by /srv/shop/config.yaml"
	locationAttrs  = `"location":"/srv/shop/af.db","config":"/srv/shop/config.yaml"`
)

// atFile is a memory backend that appears to be at a file, and to be configured.
func atFile() af.Backend {
	return configuredFile{altered{memory.New(), func(p *backend.Ports) { p.Location = "/srv/shop/af.db" }}}
}

type configuredFile struct{ altered }

func (configuredFile) Settings() backend.Settings {
	return backend.Settings{ConfigFile: "/srv/shop/config.yaml"}
}

// The log and the errors tell what a program runs on, since two programs on two files don't find each other.
func TestLocationIsLoggedAndInErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, atFile(), lines.option())
		start(t, app)
		if got := lines.String(); !strings.Contains(got, `"msg":"started"`) || !strings.Contains(got, locationAttrs) {
			t.Errorf("log: %s", got)
		}
		_, err := call(t.Context(), app, 1)
		wantError(t, err, af.ErrUnavailable, af.OutcomeNotSent, `no instance of service "calc"`+locationClause)
		q := af.NewQueue[int, int](app, af.Worker{Name: "q", Type: "W"})
		_, err = q.Submit(t.Context(), 1, af.RequireWorker())
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, `no worker of queue "q"`+locationClause)
	})
}

// On a backend that other processes can't open there is no location.
func TestMemoryHasNoLocation(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		start(t, app)
		_, err := call(t.Context(), app, 1)
		if err == nil || !strings.HasSuffix(err.Error(), `no instance of service "calc" is running`) {
			t.Errorf("got %v", err)
		}
		if strings.Contains(lines.String(), "location") {
			t.Errorf("log: %s", lines.String())
		}
	})
}

// A caller that waits for 2 s for an instance is told once what it waits for, and where.
func TestWaitingForAnInstanceIsLoggedOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, atFile(), lines.option())
		start(t, app)
		wait := func(d time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			_, err := call(ctx, app, 1, af.WaitForReady())
			wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeNotSent, locationClause)
		}
		told := func() int { return strings.Count(lines.String(), "no instance of the service is running") }
		if wait(1900 * time.Millisecond); told() != 0 {
			t.Errorf("after 1.9 s: %s", lines.String())
		}
		for range 2 {
			if wait(2500 * time.Millisecond); told() != 1 || !strings.Contains(lines.String(), `"service":"calc"`) ||
				strings.Count(lines.String(), locationAttrs) != 2 {
				t.Errorf("after 2.5 s: %s", lines.String())
			}
		}
	})
}

// Waiting for a task that has not begun is logged if no worker of its queue is running.
func TestWaitingForAWorkerIsLoggedOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := atFile()
		var lines log
		app := open(t, b, lines.option())
		start(t, app)
		q := af.NewQueue[int, int](app, af.Worker{Name: "q", Type: "W"})
		id := must(q.Submit(t.Context(), 1))(t)
		told := func() int { return strings.Count(lines.String(), "no instance of the queue is running") }
		wait := func(d time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if _, err := q.Wait(ctx, id); af.CodeOf(err) != af.ErrDeadlineExceeded {
				t.Errorf("got %v", err)
			}
		}
		if wait(1900 * time.Millisecond); told() != 0 {
			t.Errorf("after 1.9 s: %s", lines.String())
		}
		for range 2 {
			if wait(2500 * time.Millisecond); told() != 1 || !strings.Contains(lines.String(), `"queue":"q","task":"`+id) {
				t.Errorf("after 2.5 s: %s", lines.String())
			}
		}
	})
}

// A task whose worker is busy, or one that is due later, is waited for in silence.
func TestWaitingForABusyWorkerIsNotLogged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := atFile()
		w := af.Worker{Name: "q", Type: "W", Max: 1}
		server := open(t, b)
		af.RegisterWorker(server, w, &worker{})
		start(t, server)
		var lines log
		app := open(t, b, lines.option())
		start(t, app)
		q := af.NewQueue[int, int](app, w)
		id := must(q.Submit(t.Context(), 1, af.RunAt(time.Now().Add(time.Minute))))(t)
		if _, err := q.Wait(t.Context(), id); err != nil {
			t.Error(err)
		}
		if strings.Contains(lines.String(), "is running") {
			t.Errorf("log: %s", lines.String())
		}
	})
}
