package runtime_test

import (
	"testing"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func TestApps(t *testing.T) {
	apptest.Run(t, func(*testing.T) af.Backend { return memory.New() })
}

func TestAppsWithHints(t *testing.T) {
	apptest.Run(t, func(*testing.T) af.Backend { return memory.New(memory.HintIDs(4096)) })
}

func TestManySubtasksDelayNoOtherTask(t *testing.T) {
	apptest.ManySubtasks(t, testkit.Fewer(5_000, 1_000), func(*testing.T) af.Backend { return memory.New() })
}
