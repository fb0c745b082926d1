package amqp

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/testkit"
)

var children = testkit.Children{}

func TestMain(m *testing.M) {
	children.Run()
	// The goroutine that waits for a started server outlives the tests of this package.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}
