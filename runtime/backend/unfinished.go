package backend

import (
	"cmp"
	"slices"
	"time"
)

// UnfinishedSince is unfinished work with the instant since when it is unfinished, in nanoseconds on the store's clock.
type UnfinishedSince struct {
	Unfinished
	Since int64
}

// OldestUnfinished returns what [Store.Unfinished] does of all that is unfinished at the instant now: up to max pieces of work
// that are at least age old, batches BatchAges times age, oldest first. Work of the same age is in the order of its fields:
// Source, What, Batch, Queue, Owner. It reorders work.
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
