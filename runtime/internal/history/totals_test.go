package history

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/runtime/backend"
)

// durationsOf are durations of all magnitudes for which histograms promise an error.
var durationsOf = rapid.Custom(func(t *rapid.T) time.Duration {
	exponent := rapid.Float64Range(0, math.Log(float64(8*24*time.Hour))).Draw(t, "exponent")
	return time.Duration(math.Exp(exponent))
})

func TestQuantilesAreWithin20Percent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(durationsOf, 1, 50).Draw(t, "durations")
		var parts [2]Histogram
		for i, d := range all {
			parts[i%2].add(d)
		}
		h := stored(t, &parts[0])
		h.merge(&parts[1])
		slices.Sort(all)
		if h.Count() != int64(len(all)) || h.Max() != all[len(all)-1] {
			t.Fatalf("count %d, max %v of %v", h.Count(), h.Max(), all)
		}
		for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
			exact := all[int(math.Ceil(q*float64(len(all))))-1]
			got := h.Quantile(q)
			if diff := (got - exact).Abs(); diff > max(exact/5, time.Millisecond) {
				t.Fatalf("quantile %v is %v, exact %v, of %v", q, got, exact, all)
			}
		}
	})
}

// stored returns a histogram as it is read back.
func stored(t *rapid.T, h *Histogram) Histogram {
	value, err := json.Marshal(store(h))
	if err != nil {
		t.Fatal(err)
	}
	var d *durations
	if err := json.Unmarshal(value, &d); err != nil {
		t.Fatal(err)
	}
	return d.load()
}

func TestBucketsMatchTheirBounds(t *testing.T) {
	for i, begin := range bounds {
		if got := bucketOf(begin); got != i {
			t.Errorf("bucket of %v is %d, want %d", begin, got, i)
		}
		if got := bucketOf(begin - 1); i > 0 && got != i-1 {
			t.Errorf("bucket of %v is %d, want %d", begin-1, got, i-1)
		}
	}
	if got := bucketOf(math.MaxInt64); got != buckets-1 {
		t.Errorf("the longest duration is in bucket %d", got)
	}
}

// Stored buckets of another version, or of a damaged document, are ignored.
func TestUnknownBucketsAreIgnored(t *testing.T) {
	h := (&durations{Max: time.Second, Counts: []int64{-1, 5, 61, 5, 3, -5, 4, 2, 7}}).load()
	if h.Count() != 2 || h.counts[4] != 2 {
		t.Errorf("%+v", h)
	}
}

func TestHourListsItsWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d document
		want := map[int64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			seq := rapid.Int64Range(1, 30).Draw(t, "seq")
			want[seq] = true
			d.include("i", seq)
		}
		for seq := range int64(32) {
			if d.contains("i", seq) != want[seq] || d.contains("j", seq) {
				t.Fatalf("window %d in %v: %v", seq, d.Windows, d.contains("i", seq))
			}
		}
		runs := d.Windows["i"]
		for i := 1; i+1 < len(runs); i += 2 {
			if runs[i+1] <= runs[i]+1 {
				t.Fatalf("runs %v are not merged", runs)
			}
		}
	})
}

func TestLeastActiveQueuesAreAddedUp(t *testing.T) {
	queues := map[string]*Totals{}
	for i := range 1000 {
		one := &Totals{Submitted: int64(i), Started: 1, Codes: map[backend.Code]int64{backend.ErrInternal: 1}}
		one.Wait.add(time.Duration(i) * time.Second)
		queues[fmt.Sprintf("queue-%d", i)] = one
	}
	const limit = 20_000
	values, err := encode(queues, limit)
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(document{Queues: values})
	if err != nil || len(value) > limit+2000 {
		t.Errorf("%d bytes, %v", len(value), err)
	}
	if values["queue-999"] == nil || values["queue-1"] != nil || values[OtherQueues] == nil {
		t.Errorf("the wrong %d queues are kept", len(values))
	}
	var total Totals
	(&document{Queues: values}).addTo(&total, "")
	if total.Submitted != 999*1000/2 || total.Started != 1000 || total.Wait.Count() != 1000 ||
		total.Codes[backend.ErrInternal] != 1000 {
		t.Errorf("%+v", total)
	}
}
