package servers_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/internal/child"
)

var children = testkit.Children{}

func TestMain(m *testing.M) {
	if child.Self() != nil {
		os.Exit(isolatedChild())
	}
	children.Run()
	// The test that starts a server waits for its process as long as that runs: longer than this package's tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}
