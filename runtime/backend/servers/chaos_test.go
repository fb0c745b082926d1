//go:build unix

package servers_test

import (
	"testing"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/devstack"
)

// Random storms of processes and servers at once; make chaos-servers goes on with them, over servers of their own. The short
// one has the others' servers, and breaks only the way to them.
func TestChaosOverTheServersKeepsThePromises(t *testing.T) {
	t.Parallel()
	chaos.Main(t, "./runtime/backend/servers", []chaos.Kind{chaos.Everything}, func(t *testing.T, _ string) chaos.World {
		if chaos.Long() {
			return newStack(t, journal, devstack.Kinds()...)
		}
		return newStack(t, journal)
	})
}
