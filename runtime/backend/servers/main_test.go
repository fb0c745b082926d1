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
	// The goroutine that waits for a started server outlives the tests of this package.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}
