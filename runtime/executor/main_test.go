package executor_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/runtime/executor"
	"github.com/afgen/afgen/runtime/internal/child"
)

func TestMain(m *testing.M) {
	if child.Self() != nil && os.Getenv("AF_TEST_LOST") != "" {
		os.Exit(0) // as a main does that knows nothing of children
	}
	executor.Main()
	goleak.VerifyTestMain(m)
}
