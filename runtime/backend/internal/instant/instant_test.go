package instant_test

import (
	"math"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

func TestOfClampsToRange(t *testing.T) {
	first, last := instant.Time(instant.First), instant.Time(instant.Last)
	for _, c := range []struct {
		t    time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.Time{}.Add(1), instant.First},
		{time.Unix(math.MinInt64/2, 0), instant.First},
		{first.Add(-1), instant.First},
		{first, instant.First},
		{first.Add(1), instant.First + 1},
		{time.Unix(0, -1), -1},
		{time.Unix(0, 0), 1},
		{time.Unix(0, 1), 1},
		{last.Add(-1), instant.Last - 1},
		{last, instant.Last},
		{last.Add(1), instant.Last},
		{time.Unix(math.MaxInt64/4, 0), instant.Last},
	} {
		if got := instant.Of(c.t); got != c.want {
			t.Errorf("Of(%v) = %d, want %d", c.t, got, c.want)
		}
	}
}

func TestAddClampsToRange(t *testing.T) {
	for _, c := range []struct {
		i    int64
		d    time.Duration
		want int64
	}{
		{5, 7, 12},
		{5, -7, -2},
		{instant.Last, 0, instant.Last},
		{instant.Last, 1, instant.Last},
		{instant.First, -1, instant.First},
		{instant.First, math.MaxInt64, instant.Last},
		{instant.Last, math.MinInt64, instant.First},
		{math.MaxInt64, math.MaxInt64, instant.Last},
		{math.MinInt64, math.MinInt64, instant.First},
		{math.MaxInt64, -1, instant.Last - 1},
	} {
		if got := instant.Add(c.i, c.d); got != c.want {
			t.Errorf("Add(%d, %d) = %d, want %d", c.i, c.d, got, c.want)
		}
	}
}
