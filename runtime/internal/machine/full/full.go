// Package full describes the machine with gopsutil, which supports all operating systems. No other package of the
// project imports gopsutil. Values that a system doesn't report, or a container hides, are zero.
package full

import (
	"context"
	"os"
	"runtime"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/afgen/afgen/runtime/internal/machine"
)

// Local is this machine, read with gopsutil. On Linux it has the same ID as [machine.Local].
var Local = machine.New(describe, read)

func describe(ctx context.Context) machine.Facts {
	f := machine.Basics(identity(ctx))
	f.Platform, _, f.Version, _ = host.PlatformInformationWithContext(ctx)
	f.Kernel, _ = host.KernelVersionWithContext(ctx)
	if n, err := cpu.CountsWithContext(ctx, true); err == nil && n > 0 {
		f.CPUs = n
	}
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 {
		f.CPUModel = info[0].ModelName
	}
	return f
}

// identity returns the system's identifier of the machine. gopsutil prefers a file that only root can read, so users
// of one machine would get different ids. machine-id is the same for all.
func identity(ctx context.Context) string {
	if id, err := os.ReadFile("/etc/machine-id"); err == nil && len(strings.TrimSpace(string(id))) > 0 {
		return strings.TrimSpace(string(id))
	}
	id, _ := host.HostIDWithContext(ctx)
	return id
}

func read(ctx context.Context) machine.Reading {
	var r machine.Reading
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		r.MemoryTotal, r.MemoryUsed = m.Total, m.Used
	}
	if d, err := disk.UsageWithContext(ctx, root()); err == nil {
		r.DiskTotal, r.DiskUsed = d.Total, d.Used
	}
	if l, err := load.AvgWithContext(ctx); err == nil {
		r.Load1, r.Load5, r.Load15 = l.Load1, l.Load5, l.Load15
	}
	if times, err := cpu.TimesWithContext(ctx, false); err == nil && len(times) == 1 {
		t := times[0]
		r.Busy = t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal // User and Nice include guests
		r.Total = r.Busy + t.Idle + t.Iowait
	}
	return r
}

func root() string {
	if runtime.GOOS == "windows" {
		return os.Getenv("SystemDrive") + `\`
	}
	return "/"
}
