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
	goleak.VerifyTestMain(m)
}
