package embedded_test

import (
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/operations"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func TestOperations(t *testing.T) {
	operations.Run(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}

func TestManySubtasksDelayNoOtherTask(t *testing.T) {
	operations.ManySubtasks(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}
