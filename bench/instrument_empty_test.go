//go:build empty

package bench

import (
	"testing"

	af "github.com/afgen/afgen/runtime"
)

func instruments(testing.TB) []af.AppOption { return []af.AppOption{af.Instrument(af.NoInstrument{})} }
