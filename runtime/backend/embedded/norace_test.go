//go:build !race

package embedded_test

import (
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// Each statement of the store uses an index. With -race, SQLite is slow and the suite runs only with two processes.
func TestStoreConformsAndUsesIndexes(t *testing.T) {
	t.Parallel()
	seen := plans{}
	var s conform.Skip
	conform.Store(t, func(t *testing.T) *backend.Ports {
		ports := openNew(t, embedded.Clock(s.Now))
		t.Cleanup(func() { seen.check(t, ports) })
		return ports
	}, s.Options(options))
	if len(seen) < 50 {
		t.Errorf("only %d statements were seen", len(seen))
	}
}
