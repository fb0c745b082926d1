package amqp

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/testkit"
)

var children = testkit.Children{}

func TestMain(m *testing.M) {
	children.Run()
	// The test that starts a server waits for its process as long as that runs: longer than this package's tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}
