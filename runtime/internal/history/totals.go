package history

import (
	"math"
	"math/bits"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Totals are numbers of events in a period, of one queue or several.
type Totals struct {
	Submitted, Started, Succeeded, Failed, Retried, Returned, Stopped, Lost int64

	Codes map[backend.Code]int64 // of Failed and Retried, by the code of the error; nil if there are none
	Wait  Histogram
	Run   Histogram
}

// Add adds the numbers of o.
func (t *Totals) Add(o *Totals) {
	t.Submitted += o.Submitted
	t.Started += o.Started
	t.Succeeded += o.Succeeded
	t.Failed += o.Failed
	t.Retried += o.Retried
	t.Returned += o.Returned
	t.Stopped += o.Stopped
	t.Lost += o.Lost
	for code, n := range o.Codes {
		t.addCode(code, n)
	}
	t.Wait.merge(&o.Wait)
	t.Run.merge(&o.Run)
}

// addCode counts failures with a code. Codes that aren't canonical count as ErrUnknown, so the map stays small.
func (t *Totals) addCode(code backend.Code, n int64) {
	if t.Codes == nil {
		t.Codes = map[backend.Code]int64{}
	}
	t.Codes[backend.ParseCode(string(code))] += n
}

// activity is by how much a queue matters if a document would be too large with all.
func (t *Totals) activity() int64 { return t.Submitted + t.Started + t.Failed + t.Stopped + t.Lost }

// buckets is the number of buckets of a Histogram. The first one is for durations below a millisecond. The others begin
// at a millisecond, and each is √2 times as wide as the one before. The last one has no end. It begins at 8.8 days.
//
// The bounds are part of the stored format.
const buckets = 61

// bounds are the beginnings of the buckets. bounds[0] is 0.
var bounds = func() (b [buckets]time.Duration) {
	for i := 1; i < buckets; i++ {
		b[i] = time.Duration(math.Round(float64(time.Millisecond) * math.Pow(2, float64(i-1)/2)))
	}
	return b
}()

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	if d < time.Millisecond {
		return 0
	}
	octave := bits.Len64(uint64(d/time.Millisecond)) - 1
	i := min(2*octave+1, buckets-1)
	if i+1 < buckets && d >= bounds[i+1] {
		i++
	}
	return i
}

// A Histogram counts durations in buckets. The zero Histogram is empty.
type Histogram struct {
	counts [buckets]int64
	max    time.Duration
}

// add counts a duration. Negative ones, from clocks that differ, count as 0.
func (h *Histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(d)]++
	h.max = max(h.max, d)
}

func (h *Histogram) merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.max = max(h.max, o.max)
}

// Count returns the number of durations.
func (h *Histogram) Count() (n int64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Max returns the longest duration, or 0 if there is none.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns an estimate of the smallest duration that is at least as long as a fraction q of all, or 0 if there
// is none. It differs from the exact one by at most 20 %, or by a millisecond if that is more. Beyond 8.8 days it is
// only known to be at most Max.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := max(int64(math.Ceil(q*float64(total))), 1)
	for i, n := range h.counts {
		if rank -= n; rank > 0 {
			continue
		}
		if i == buckets-1 {
			return h.max
		}
		// The error relative to both ends of the bucket is the same: 17 %.
		lo, hi := float64(bounds[i]), float64(bounds[i+1])
		return min(time.Duration(2*lo*hi/(lo+hi)), h.max)
	}
	return h.max
}
