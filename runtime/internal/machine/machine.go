// Package machine says what machine this is and how busy it is. It is all that the project has of gopsutil, which knows how
// to ask each operating system; what one doesn't tell, or a container hides, stays zero.
//
//	facts := machine.Describe(ctx) // asked once a process
//	usage := machine.Measure(ctx)  // asked at most every few seconds, however many Apps there are
//
// In a container memory, CPUs and load are those of the machine beneath it, not the container's share; the name is the
// container's own, and so is the ID, which is made from it.
package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
)

// Facts are what doesn't change while a machine is up.
type Facts struct {
	ID       string // the name, and a hash of what the system identifies the machine by: the same for all its users
	Host     string // the name
	OS       string // as GOOS
	Platform string // such as debian
	Version  string // of the platform
	Kernel   string // its version
	Arch     string // as GOARCH
	CPUs     int    // logical ones
	CPUModel string
}

// Usage is how busy a machine is.
type Usage struct {
	MemoryTotal, MemoryUsed uint64 // bytes
	DiskTotal, DiskUsed     uint64 // bytes, of the root's (on Windows the system's) file system
	CPU                     float64
	Load1, Load5, Load15    float64 // as uptime prints it
}

// again is for how long a measurement counts. It also is the least time over which CPU is averaged, but for the first.
const again = 5 * time.Second

var (
	mu       sync.Mutex
	facts    *Facts
	usage    Usage
	measured time.Time
	busy     float64 // seconds of CPU since the machine started, as last read
	total    float64
)

// Describe returns the facts.
func Describe(ctx context.Context) Facts {
	mu.Lock()
	defer mu.Unlock()
	if facts == nil {
		f := describe(ctx)
		facts = &f
	}
	return *facts
}

// describe asks the system. What it doesn't tell stays empty.
func describe(ctx context.Context) Facts {
	f := Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	f.Host, _ = os.Hostname()
	if f.Host == "" {
		f.Host = "localhost"
	}
	f.Platform, _, f.Version, _ = host.PlatformInformationWithContext(ctx)
	f.Kernel, _ = host.KernelVersionWithContext(ctx)
	if n, err := cpu.CountsWithContext(ctx, true); err == nil && n > 0 {
		f.CPUs = n
	}
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 {
		f.CPUModel = info[0].ModelName
	}
	sum := sha256.Sum256([]byte(identity(ctx)))
	f.ID = f.Host + "-" + hex.EncodeToString(sum[:4])
	return f
}

// identity is what the system identifies the machine by. It is not to be shown. What gopsutil prefers only root may read,
// so that users would disagree.
func identity(ctx context.Context) string {
	if id, err := os.ReadFile("/etc/machine-id"); err == nil && len(strings.TrimSpace(string(id))) > 0 {
		return strings.TrimSpace(string(id))
	}
	id, _ := host.HostIDWithContext(ctx)
	return id
}

// Measure returns how busy the machine is: CPU as a share of all its CPUs, 0 to 1, since the measurement before, and since
// the machine was started where there is none.
func Measure(ctx context.Context) Usage {
	mu.Lock()
	defer mu.Unlock()
	now := time.Now()
	if age := now.Sub(measured); age >= 0 && age < again {
		return usage
	}
	measured = now
	u := Usage{CPU: usage.CPU}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		u.MemoryTotal, u.MemoryUsed = m.Total, m.Used
	}
	if d, err := disk.UsageWithContext(ctx, root()); err == nil {
		u.DiskTotal, u.DiskUsed = d.Total, d.Used
	}
	if l, err := load.AvgWithContext(ctx); err == nil {
		u.Load1, u.Load5, u.Load15 = l.Load1, l.Load5, l.Load15
	}
	if times, err := cpu.TimesWithContext(ctx, false); err == nil && len(times) == 1 {
		t := times[0]
		idle := t.Idle + t.Iowait
		worked := t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal // guests are counted in User and Nice
		if all := worked + idle; all > total {
			u.CPU = min(max((worked-busy)/(all-total), 0), 1)
			busy, total = worked, all
		}
	}
	usage = u
	return u
}

func root() string {
	if runtime.GOOS == "windows" {
		return os.Getenv("SystemDrive") + `\`
	}
	return "/"
}
