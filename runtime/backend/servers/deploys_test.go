//go:build unix

package servers_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func init() {
	for name, main := range map[string]func(af.Backend) int{"deployed": apptest.Deployed,
		"poisoned": apptest.PoisonedMain} {
		children[name] = func() int {
			cfg, err := parseText(os.Getenv("AF_TEST_CONFIG"))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 2
			}
			return main(servers.From(cfg))
		}
	}
}

func TestDeploysChargeNothing(t *testing.T) {
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t))
	apptest.Deploys(t, servers.From(parse(t, text)), func(t *testing.T, env string) (*exec.Cmd, func(string)) {
		child := testkit.Start(t, "deployed", "AF_TEST_CONFIG="+text, env)
		return child.Cmd, func(want string) { child.Says(t, want) }
	})
}
