//go:build !empty && !otel

package bench

import (
	"testing"

	af "github.com/afgen/afgen/runtime"
)

// instruments returns the options for the instrument of all Apps.
func instruments(testing.TB) []af.AppOption { return nil }
