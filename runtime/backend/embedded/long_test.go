//go:build long

package embedded_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func TestLongSoak(t *testing.T) {
	apptest.Soak(t, embedded.File(filepath.Join(t.TempDir(), "af.db")), 2*time.Minute)
}

func TestLongManySubtasksDelayNoOtherTask(t *testing.T) {
	apptest.ManySubtasks(t, 100_000, func(t *testing.T) af.Backend {
		return embedded.File(filepath.Join(t.TempDir(),
			"af.db"))
	})
}
