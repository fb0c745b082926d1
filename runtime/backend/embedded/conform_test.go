package embedded_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// openUntilEnd opens a file and closes it when the test ends.
func openUntilEnd(t testing.TB, path string, opts ...embedded.Option) *backend.Ports {
	t.Helper()
	ports, err := embedded.File(path, opts...).Open(t.Context(), backend.Env{
		Instance: backend.Instance{ID: "test"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ports.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return ports
}

// options gives tests more time with -race.
var options = conform.Options{Tick: func() time.Duration {
	if testkit.Race {
		return 80 * time.Millisecond
	}
	return 40 * time.Millisecond
}()}

func openNew(t *testing.T, opts ...embedded.Option) *backend.Ports {
	return openUntilEnd(t, filepath.Join(t.TempDir(), "af.db"), append(opts, embedded.Checked())...)
}

func openChecked(t *testing.T) *backend.Ports { return openNew(t) }

func TestDocsConform(t *testing.T) { conform.Docs(t, openChecked, options) }

func TestTransportConforms(t *testing.T) { conform.Transport(t, openChecked, options) }

func TestCoordinatorConforms(t *testing.T) {
	t.Parallel() // mostly sleeps
	conform.Coordinator(t, openChecked, options)
}

// Random operations have the same results as on the memory backend. With -race, SQLite (which is Go code) is slow.
func TestStoreMatchesMemory(t *testing.T) {
	if testkit.Race {
		testkit.Checks(t, testkit.Fewer(10, 2))
	} else {
		testkit.Checks(t, testkit.Fewer(30, 5))
	}
	conform.Differential(t, func(t *testing.T) *backend.Ports {
		ports, err := memory.New().Open(t.Context(), backend.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}, openChecked, options)
}

func TestCallsConform(t *testing.T) { conform.Calls(t, openChecked, options) }
