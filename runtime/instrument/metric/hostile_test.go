package metric

import (
	"fmt"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// Statuses and reasons are few, but they come from documents that any program may have written.
func TestForeignValuesAreLimited(t *testing.T) {
	v := &values{sums: map[string]float64{}}
	r := NewRecorder(v.sink)
	const n = 2 * MaxSeries
	for i := range n {
		r.Observe(instrument.Event{Kind: instrument.JobSkipped, Job: "j", Reason: fmt.Sprint(i), Tasks: 1})
		r.Observe(instrument.Event{Kind: instrument.TaskEnded, Queue: "q", Status: backend.Status(fmt.Sprint(i))})
	}
	counts, sum := map[string]int{}, 0.0
	for key, value := range v.sums {
		name, _, _ := strings.Cut(key, " ")
		counts[name]++
		if name == "af.job.fires" {
			sum += value
		}
	}
	for name, got := range counts {
		if got > MaxSeries+maxOther+1 {
			t.Errorf("%s has %d series", name, got)
		}
	}
	if len(counts) != 3 || sum != n {
		t.Errorf("%v, %v fires, want %d", counts, sum, n)
	}
}

// A counter never decreases: Prometheus refuses a negative value.
func TestCountersNeverDecrease(t *testing.T) {
	v := &values{sums: map[string]float64{}}
	r := NewRecorder(v.sink)
	r.Observe(instrument.Event{Kind: instrument.JobSkipped, Job: "j", Reason: "overlap", Tasks: -3})
	r.Observe(instrument.Event{Kind: instrument.LogLost, Reason: "file", Records: -1})
	for key, value := range v.sums {
		if value < 0 {
			t.Errorf("%s is %v", key, value)
		}
	}
}
