//go:build long && unix

package servers_test

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/config"
)

// A process that is cut off from the primary of a three-member replica set cancels its tasks before others run them.
func TestLongCutOffFromAPrimary(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	primary, err := rs.Primary()
	if err != nil {
		t.Fatal(err)
	}
	cutOff(t, func(t testing.TB) string { return devstack.WithDatabase(primary.URI, devstack.Name(t)) }, cuts)
}

// The tasks on a host that is lost, by default, run again after a lease. RabbitMQ keeps the connection for longer.
func TestLongLostHost(t *testing.T) {
	lease := config.Default().Tasks.Lease
	cutOff(t, devstack.Mongo, []cut{
		{"default_lease", lease, "heartbeat=10", loseNetwork, lease + 6*time.Second, lease - 2*time.Second},
		{"lease_10", lease / 2, "heartbeat=10", loseNetwork, lease/2 + 6*time.Second, lease/2 - 2*time.Second},
	})
}
