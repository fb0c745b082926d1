//go:build long && unix

package servers_test

import (
	"testing"

	"github.com/afgen/afgen/internal/devstack"
)

// A process that is cut off from the primary of a three-member replica set cancels its tasks before others run them.
func TestLongCutOffFromAPrimary(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	primary, err := rs.Primary()
	if err != nil {
		t.Fatal(err)
	}
	cutOff(t, devstack.WithDatabase(primary.URI, devstack.Name(t)))
}
