package servers_test

import (
	"testing"

	"github.com/afgen/afgen/internal/operations"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func TestOperations(t *testing.T) {
	operations.Run(t, func(t *testing.T) af.Backend { return servers.From(configured(t)) })
}

func TestManySubtasksDelayNoOtherTask(t *testing.T) {
	operations.ManySubtasks(t, func(t *testing.T) af.Backend { return servers.From(configured(t)) })
}
