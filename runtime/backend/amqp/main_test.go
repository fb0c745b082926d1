package amqp

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// children are what this binary can be besides a test: a process of its own, by the value of AF_TEST_CHILD. Each returns its
// exit code.
var children = map[string]func() int{}

func TestMain(m *testing.M) {
	if child := os.Getenv("AF_TEST_CHILD"); child != "" {
		os.Exit(children[child]())
	}
	// The test that starts a server waits for its process as long as that runs: longer than this package's tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}
