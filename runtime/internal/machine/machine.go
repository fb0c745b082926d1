// Package machine describes the machine that the process runs on and measures its load, with the standard library alone: on
// Linux from /proc, elsewhere only what package runtime of Go knows. Facts that the system doesn't tell are zero. Package full
// does the same with gopsutil, which covers all systems; only programs that import it link gopsutil.
//
//	facts := machine.Local.Describe(ctx) // read once per process
//	usage := machine.Local.Measure(ctx)  // read every few seconds at most, whatever the number of Apps
//
// In a container memory, CPUs and load are those of the machine beneath it, not the container's share. The name is the
// container's own, and so is the ID, which is made from it.
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
	ID       string // the name, and a hash of the system's identifier of the machine: the same for all users of it
	Host     string // the name
	OS       string // as GOOS
	Platform string // such as debian
	Version  string // of the platform
	Kernel   string // its version
	Arch     string // as GOARCH
	CPUs     int    // logical ones
	CPUModel string
}

// Usage is the load of a machine.
type Usage struct {
	MemoryTotal, MemoryUsed uint64 // bytes
	DiskTotal, DiskUsed     uint64 // bytes, of the root's (on Windows the system's) file system
	CPU                     float64
	Load1, Load5, Load15    float64 // as uptime prints it
}

// A Reading is what a system reports at one moment: the usage, but for CPU, and the seconds of CPU time since it was started.
type Reading struct {
	Usage
	Busy, Total float64
}

// again is how long a measurement is valid. CPU is averaged over at least this time, except in the first measurement.
const again = 5 * time.Second

// A Machine reads the facts and the usage of this machine, and keeps them for the next reader. Its methods are safe for
// concurrent use.
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

// New returns a Machine that reads the facts with describe, once, and the usage with read. Neither is called concurrently.
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

// Measure returns the load of the machine. CPU is the share of all its CPUs, 0 to 1, in use since the measurement before; in
// the first measurement, since the machine was started.
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

// Basics returns the facts that Go's runtime knows, and an ID from the system's identifier of the machine, which is not
// revealed.
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
