// Package machine describes the machine that the process runs on and measures its load with the standard library
// alone. On Linux it reads /proc, and elsewhere it knows only what package runtime of Go reports. Unknown facts are
// zero. Package full does the same with gopsutil for all systems; only programs that import it link gopsutil.
//
//	facts := machine.Local.Describe(ctx) // read once per process
//	usage := machine.Local.Measure(ctx)  // read every few seconds at most, for all Apps
//
// In a container, memory, CPUs and load are those of the host, not the container's share. The name is the
// container's, and so is the ID derived from it.
package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"
	"sync"
	"time"
)

// Facts don't change while a machine is up.
type Facts struct {
	ID       string // the name, and a hash of the system's identifier; the same for all users of the machine
	Host     string // host name
	OS       string // as GOOS
	Platform string // such as debian
	Version  string // of the platform
	Kernel   string // kernel version
	Arch     string // as GOARCH
	CPUs     int    // logical CPUs
	CPUModel string
}

// Usage is the load of a machine.
type Usage struct {
	MemoryTotal, MemoryUsed uint64 // in bytes
	DiskTotal, DiskUsed     uint64 // in bytes, of the root file system (on Windows the system's)
	CPU                     float64
	Load1, Load5, Load15    float64 // as printed by uptime
}

// A Reading is a snapshot from the system: the usage except CPU, and the seconds of CPU time since boot.
type Reading struct {
	Usage
	Busy, Total float64
}

// again is how long a measurement is valid. CPU is averaged over at least this time, except in the first measurement.
const again = 5 * time.Second

// A Machine reads and caches the facts and the usage of this machine. Its methods are safe for concurrent use.
type Machine struct {
	describe func(context.Context) Facts
	read     func(context.Context) Reading

	mu       sync.Mutex
	facts    *Facts
	usage    Usage
	measured time.Time
	busy     float64 // of the last reading
	total    float64
}

// Local is this machine, read with the standard library.
var Local = New(describe, read)

// New returns a Machine that calls describe once for the facts, and read for the usage. It calls neither
// concurrently.
func New(describe func(context.Context) Facts, read func(context.Context) Reading) *Machine {
	return &Machine{describe: describe, read: read}
}

// Describe returns the facts.
func (m *Machine) Describe(ctx context.Context) Facts {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.facts == nil {
		f := m.describe(ctx)
		m.facts = &f
	}
	return *m.facts
}

// Measure returns the load of the machine. CPU is the share of all CPUs, 0 to 1, in use since the previous
// measurement, or since boot for the first one.
func (m *Machine) Measure(ctx context.Context) Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if age := now.Sub(m.measured); age >= 0 && age < again {
		return m.usage
	}
	m.measured = now
	r := m.read(ctx)
	r.CPU = m.usage.CPU
	if r.Total > m.total {
		r.CPU = min(max((r.Busy-m.busy)/(r.Total-m.total), 0), 1)
		m.busy, m.total = r.Busy, r.Total
	}
	m.usage = r.Usage
	return m.usage
}

// Basics returns the facts known to Go's runtime, and an ID that is a hash of the system's identifier.
func Basics(identity string) Facts {
	f := Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	f.Host, _ = os.Hostname()
	if f.Host == "" {
		f.Host = "localhost"
	}
	sum := sha256.Sum256([]byte(identity))
	f.ID = f.Host + "-" + hex.EncodeToString(sum[:4])
	return f
}
