package embedded_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// join opens a file and closes it when the test ends.
func join(t testing.TB, path string, opts ...embedded.Option) *backend.Ports {
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

func alone(t *testing.T) *backend.Ports {
	return join(t, filepath.Join(t.TempDir(), "af.db"), embedded.Checked())
}

func TestStoreConforms(t *testing.T) { conform.Store(t, alone, conform.Options{}) }

func TestDocsConform(t *testing.T) { conform.Docs(t, alone, conform.Options{}) }

func TestTransportConforms(t *testing.T) { conform.Transport(t, alone, conform.Options{}) }

func TestCoordinatorConforms(t *testing.T) { conform.Coordinator(t, alone, conform.Options{}) }

func TestStoreDoesWhatMemoryDoes(t *testing.T) {
	conform.Differential(t, func(t *testing.T) *backend.Ports {
		ports, err := memory.New().Open(t.Context(), backend.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}, alone, conform.Options{})
}

func TestCallsConform(t *testing.T) { conform.Calls(t, alone, conform.Options{}) }
