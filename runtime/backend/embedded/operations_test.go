package embedded_test

import (
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/operations"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func TestOperations(t *testing.T) {
	operations.Run(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}

func TestManySubtasksDelayNoOtherTask(t *testing.T) {
	operations.ManySubtasks(t, testkit.Fewer(5_000, 1_000), func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}
