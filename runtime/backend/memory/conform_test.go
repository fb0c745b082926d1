package memory_test

import (
	"log/slog"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// virtual runs each test of a suite in its own synctest bubble.
var virtual = conform.Options{Around: bubble.Test, Virtual: true}

func open(opts ...memory.Option) conform.Open {
	return func(t *testing.T) *backend.Ports {
		ports, err := memory.New(append(opts, memory.Checked())...).Open(t.Context(), backend.Env{
			Instance: backend.Instance{ID: "test"}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}
}

func TestStoreConforms(t *testing.T) { conform.Store(t, open(), virtual) }

func TestDocsConform(t *testing.T) { conform.Docs(t, open(), virtual) }

func TestTransportConforms(t *testing.T) {
	t.Run("wake-ups", func(t *testing.T) { conform.Transport(t, open(), virtual) })
	t.Run("ids", func(t *testing.T) { conform.Transport(t, open(memory.HintIDs(4096)), virtual) })
}

func TestCoordinatorConforms(t *testing.T) { conform.Coordinator(t, open(), virtual) }

func TestCallsConform(t *testing.T) { conform.Calls(t, open(), virtual) }

// Random operations have the same results as on a much simpler model.
func TestStoreMatchesModel(t *testing.T) {
	testkit.Checks(t, testkit.Fewer(100, 20))
	conform.Differential(t, open(), func(*testing.T) *backend.Ports { return conform.Model() }, virtual)
}
