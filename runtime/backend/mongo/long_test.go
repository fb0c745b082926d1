//go:build long

package mongo_test

import (
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// TestStoreConformsWithTwoClients checks the same, and more, in every run.
func TestStoreConformsLong(t *testing.T) {
	var s conform.Skip
	uri := devstack.Mongo(t)
	conform.Store(t, func(t *testing.T) *backend.Ports {
		c := skipping(join(t, uri), &s)
		wipe(t, uri)
		return portsOf(c)
	}, s.Options(options))
}
