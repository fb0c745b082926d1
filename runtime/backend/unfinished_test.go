package backend

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestOldestUnfinished(t *testing.T) {
	const now = int64(time.Hour)
	since := func(age time.Duration, u Unfinished) UnfinishedSince {
		return UnfinishedSince{Unfinished: u, Since: now - int64(age)}
	}
	ordered := []UnfinishedSince{
		since(30*time.Minute, Unfinished{What: UnfinishedSet, Source: "z"}),
		since(time.Minute*BatchAges, Unfinished{What: UnfinishedBatch, Source: "y", Batch: "b"}), // just old enough
		since(time.Minute, Unfinished{What: UnfinishedClaims, Owner: "a"}),
		since(time.Minute, Unfinished{What: UnfinishedClaims, Owner: "b"}),
		since(time.Minute, Unfinished{What: UnfinishedOverdue, Queue: "a"}),
		since(time.Minute, Unfinished{What: UnfinishedOverdue, Queue: "b"}),
		since(time.Minute, Unfinished{What: UnfinishedGate, Source: "x"}),
		since(time.Minute, Unfinished{What: UnfinishedSet, Source: "x"}),
	}
	want := make([]Unfinished, len(ordered))
	for i, u := range ordered {
		want[i] = u.Unfinished
	}
	young := []UnfinishedSince{
		since(time.Minute-1, Unfinished{What: UnfinishedSet, Source: "w"}),
		since(time.Minute*BatchAges-1, Unfinished{What: UnfinishedBatch, Source: "w", Batch: "b"}),
	}
	for _, max := range []int{0, 3, len(ordered), 100} {
		work := slices.Concat(ordered, young)
		rand.Shuffle(len(work), func(i, j int) { work[i], work[j] = work[j], work[i] })
		got := OldestUnfinished(work, now, time.Minute, max)
		if !slices.Equal(got, want[:min(max, len(want))]) {
			t.Errorf("of %d: %+v", max, got)
		}
	}
}
