package admin

import (
	"fmt"

	af "github.com/afgen/afgen/runtime"
)

// SkipReason returns why a due time was skipped, in words; "" if it was not.
func SkipReason(f *af.Fire) string {
	reason := f.Skipped
	switch f.Skipped {
	case "":
		return ""
	case af.SkippedMissed:
		reason = "no instance could fire it in time"
	case af.SkippedOverlap:
		reason = "an earlier task had not ended"
	case af.SkippedFull:
		reason = "too many due times already waited for an earlier task"
	} // others are of a newer version
	switch {
	case f.More == 1:
		reason += "; also 1 earlier due time"
	case f.More > 1:
		reason += fmt.Sprintf("; also %d earlier due times", f.More)
	}
	return reason
}
