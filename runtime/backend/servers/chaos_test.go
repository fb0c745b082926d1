//go:build unix

package servers_test

import (
	"testing"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/devstack"
)

// Random faults of processes and servers. The short test shares servers with other tests and only breaks the network to
// them; make chaos-servers runs longer, on servers of its own.
func TestChaosKeepsPromises(t *testing.T) {
	t.Parallel()
	chaos.Main(t, "./runtime/backend/servers", []chaos.Kind{chaos.Everything}, func(t *testing.T, _ string) chaos.World {
		if chaos.Long() {
			return newStack(t, journal, devstack.Kinds()...)
		}
		return newStack(t, journal)
	})
}
