//go:build !race

package embedded_test

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

const (
	race = false
	tick = 40 * time.Millisecond
)

// Whatever a store does, it finds its rows by an index. Under -race, where SQLite is slow, the suite runs on two processes only.
func TestStoreConformsAndLooksAtNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	seen := plans{}
	var s conform.Skip
	conform.Store(t, func(t *testing.T) *backend.Ports {
		ports := alone(t, embedded.Clock(s.Now))
		t.Cleanup(func() { seen.check(t, ports) })
		return ports
	}, s.Options(options))
	if len(seen) < 50 {
		t.Errorf("only %d statements were seen", len(seen))
	}
}
