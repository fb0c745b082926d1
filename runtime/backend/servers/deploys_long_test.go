//go:build long && unix

package servers_test

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func TestLongPoisonFailsAlone(t *testing.T) {
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t))
	apptest.Poison(t, servers.From(parse(t, text)), func() *exec.Cmd {
		return testkit.Command("poisoned", "AF_TEST_CONFIG="+text)
	})
}

// By default a drain takes at most 25 s. With the rest of the shutdown that is less than the 30 s of Kubernetes' grace
// period.
func TestLongProcessEndsWhateverHangs(t *testing.T) { endsWhateverHangs(t, "", 28500*time.Millisecond) }
