package admin_test

import (
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

func TestSkipReason(t *testing.T) {
	for want, f := range map[string]af.Fire{
		"":                                  {TaskID: "x"},
		"no instance could fire it in time": {Skipped: af.SkippedMissed},
		"an earlier task had not ended; also 2 earlier due times": {Skipped: af.SkippedOverlap, More: 2},
		"an earlier task had not ended; also 1 earlier due time":  {Skipped: af.SkippedOverlap, More: 1},
		"new": {Skipped: "new"},
	} {
		if got := admin.SkipReason(&f); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}
