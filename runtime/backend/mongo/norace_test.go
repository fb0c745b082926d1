//go:build !race

package mongo_test

import (
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// The suite by one client takes as long as that by two, and shows less: it is not run under -race, too.
func TestStoreConforms(t *testing.T) {
	var s conform.Skip
	conform.Store(t, func(t *testing.T) *backend.Ports { return portsOf(skipping(join(t, devstack.Mongo(t)), &s)) }, s.Options(options))
}
