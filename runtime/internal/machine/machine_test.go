package machine

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMachineIsDescribedAndMeasured(t *testing.T) {
	f := Describe(t.Context())
	if f.Host == "" || !strings.HasPrefix(f.ID, f.Host+"-") || f.OS != runtime.GOOS || f.Arch != runtime.GOARCH || f.CPUs < 1 || f.Platform == "" || f.Kernel == "" {
		t.Errorf("described as %+v", f)
	}
	if f != Describe(t.Context()) {
		t.Error("described in another way the second time")
	}
	u := Measure(t.Context())
	if u.MemoryTotal == 0 || u.MemoryUsed == 0 || u.MemoryUsed > u.MemoryTotal || u.DiskTotal == 0 || u.DiskUsed > u.DiskTotal || u.CPU < 0 || u.CPU > 1 {
		t.Errorf("measured %+v", u)
	}
}

// However many ask, the system is asked now and then.
func TestMeasurementCountsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mu.Lock()
		measured = time.Time{}
		mu.Unlock()
		Measure(t.Context())
		first := measured
		time.Sleep(again - time.Millisecond)
		if Measure(t.Context()); measured != first {
			t.Error("measured again too soon")
		}
		time.Sleep(time.Millisecond)
		if Measure(t.Context()); measured == first {
			t.Error("not measured again")
		}
	})
}

func BenchmarkMeasure(b *testing.B) {
	for b.Loop() {
		mu.Lock()
		measured = time.Time{}
		mu.Unlock()
		Measure(b.Context())
	}
}
