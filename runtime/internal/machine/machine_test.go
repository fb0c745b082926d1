package machine

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
)

func TestMachineIsDescribedAndMeasured(t *testing.T) {
	f := Local.Describe(t.Context())
	if f.Host == "" || !strings.HasPrefix(f.ID, f.Host+"-") || f.OS != runtime.GOOS ||
		f.Arch != runtime.GOARCH || f.CPUs < 1 {
		t.Errorf("described as %+v", f)
	}
	if f != Local.Describe(t.Context()) {
		t.Error("described in another way the second time")
	}
	if runtime.GOOS != "linux" {
		return
	}
	if f.Platform == "" || f.Kernel == "" || strings.Contains(f.ID, "e3b0c442") { // the hash of the empty string
		t.Errorf("described as %+v", f)
	}
	u := Local.Measure(t.Context())
	if u.MemoryTotal == 0 || u.MemoryUsed == 0 || u.MemoryUsed > u.MemoryTotal || u.DiskTotal == 0 ||
		u.DiskUsed > u.DiskTotal || u.CPU < 0 || u.CPU > 1 {
		t.Errorf("measured %+v", u)
	}
}

// However many readers, the system is read every few seconds.
func TestMeasurementIsCached(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		reads := 0
		m := New(describe, func(context.Context) Reading { reads++; return Reading{} })
		for _, want := range []struct {
			after time.Duration
			reads int
		}{{0, 1}, {again - time.Millisecond, 1}, {time.Millisecond, 2}} {
			time.Sleep(want.after)
			if m.Measure(t.Context()); reads != want.reads {
				t.Errorf("%d reads, want %d", reads, want.reads)
			}
		}
	})
}

func TestCPUSinceLastMeasurement(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var r Reading
		m := New(describe, func(context.Context) Reading { return r })
		for _, step := range []struct{ busy, total, want float64 }{{10, 100, 0.1}, {60, 200, 0.5},
			{60, 200, 0.5}, {60, 300, 0}} {
			r.Busy, r.Total = step.busy, step.total
			if u := m.Measure(t.Context()); u.CPU != step.want {
				t.Errorf("%v of CPU after %v of %v, want %v", u.CPU, step.busy, step.total, step.want)
			}
			time.Sleep(again)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		read(b.Context())
	}
}
