package embedded_test

import (
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func TestApps(t *testing.T) {
	apptest.Run(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}

func TestManySubtasksDelayNoOtherTask(t *testing.T) {
	apptest.ManySubtasks(t, testkit.Fewer(5_000, 1_000),
		func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}
