package ids_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/internal/ids"
)

// Ids of tasks sort by time, so that they are neighbours in the stores' indexes, and the rest is random.
func TestTaskIDsAreNeighboursInTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		shape := regexp.MustCompile(`^[A-Z2-7]{26}$`)
		last := ""
		for range 100 {
			a, b := ids.NewTask(), ids.NewTask()
			if !shape.MatchString(a) || a == b || a[:9] != b[:9] || a[9:] == b[9:] {
				t.Fatalf("ids of one instant: %s, %s", a, b)
			}
			if min(a, b) <= last {
				t.Fatalf("%s after %s", min(a, b), last)
			}
			last = max(a, b)
			time.Sleep(time.Millisecond) // in virtual time
		}
	})
}
