package executor_test

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/runtime/executor"
	"github.com/afgen/afgen/runtime/internal/child"
)

func TestMain(m *testing.M) {
	if lost := os.Getenv("AF_TEST_LOST"); lost != "" && child.Self() != nil {
		// Behave like a main that does not call executor.Main. If it starts a pool, Start does not return.
		if lost == "starts" {
			_ = executor.Processes(actions).Start(context.Background())
		}
		os.Exit(0)
	}
	executor.Main()
	goleak.VerifyTestMain(m)
}
