//go:build !race

package mongo_test

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
)

const tick = 150 * time.Millisecond

// The suite by one client takes as long as that by two, and shows less: it is not run under -race, too.
func TestStoreConforms(t *testing.T) {
	conform.Store(t, alone, options)
}
