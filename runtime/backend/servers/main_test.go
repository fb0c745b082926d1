package servers_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/runtime/internal/child"
)

// children are the processes that tests start: this binary, run again, by what AF_TEST_CHILD says. Each returns its exit
// code.
var children = map[string]func() int{}

func TestMain(m *testing.M) {
	if child.Self() != nil {
		os.Exit(isolatedChild())
	}
	kind := os.Getenv("AF_TEST_CHILD")
	if kind == "" {
		// The test that starts a server waits for its process as long as that runs: longer than this package's tests.
		goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
		return
	}
	run, ok := children[kind]
	if !ok {
		fmt.Fprintf(os.Stderr, "AF_TEST_CHILD is %q, and there is no such child\n", kind)
		os.Exit(2)
	}
	os.Exit(run())
}
