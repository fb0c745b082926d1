package backend

import (
	"cmp"
	"slices"
	"time"
)

// UnfinishedSince is unfinished work and the instant since when it is unfinished, in nanoseconds of the store's clock.
type UnfinishedSince struct {
	Unfinished
	Since int64
}

// OldestUnfinished selects the result of [Store.Unfinished] from all unfinished work at instant now: up to max pieces
// that are at least age old (BatchAges times age for batches), oldest first. Work of the same age is ordered by Source,
// What, Batch, Queue and Owner. It modifies the slice work.
func OldestUnfinished(work []UnfinishedSince, now int64, age time.Duration, max int) []Unfinished {
	work = slices.DeleteFunc(work, func(u UnfinishedSince) bool {
		least := age
		if u.What == UnfinishedBatch {
			least *= BatchAges
		}
		return now-u.Since < int64(least)
	})
	slices.SortFunc(work, func(a, b UnfinishedSince) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Source, b.Source), cmp.Compare(a.What, b.What),
			cmp.Compare(a.Batch, b.Batch), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Owner, b.Owner))
	})
	oldest := make([]Unfinished, min(len(work), max))
	for i := range oldest {
		oldest[i] = work[i].Unfinished
	}
	return oldest
}
