package full

import (
	"runtime"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/internal/machine"
)

func TestMachineIsDescribedAndMeasured(t *testing.T) {
	f := Local.Describe(t.Context())
	if f.Host == "" || !strings.HasPrefix(f.ID, f.Host+"-") || f.OS != runtime.GOOS || f.Arch != runtime.GOARCH ||
		f.CPUs < 1 || f.Platform == "" || f.Kernel == "" {
		t.Errorf("described as %+v", f)
	}
	if f != Local.Describe(t.Context()) {
		t.Error("described in another way the second time")
	}
	u := Local.Measure(t.Context())
	if u.MemoryTotal == 0 || u.MemoryUsed == 0 || u.MemoryUsed > u.MemoryTotal || u.DiskTotal == 0 ||
		u.DiskUsed > u.DiskTotal || u.CPU < 0 || u.CPU > 1 {
		t.Errorf("measured %+v", u)
	}
}

// On Linux both sources agree, so that Apps that use different ones report the same node.
func TestBothSourcesDescribeOneMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // package machine reads only Linux
	}
	a, b := Local.Describe(t.Context()), machine.Local.Describe(t.Context())
	a.Version, b.Version = "", "" // of some platforms gopsutil knows the minor version
	if a != b {
		t.Errorf("%+v is not %+v", a, b)
	}
	u, v := Local.Measure(t.Context()), machine.Local.Measure(t.Context())
	if u.MemoryTotal != v.MemoryTotal || u.DiskTotal != v.DiskTotal || v.MemoryUsed < u.MemoryUsed/2 ||
		v.MemoryUsed > 2*u.MemoryUsed ||
		v.CPU < u.CPU-0.1 || v.CPU > u.CPU+0.1 {
		t.Errorf("%+v is not %+v", u, v)
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		read(b.Context())
	}
}
