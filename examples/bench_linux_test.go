package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
)

// BenchmarkIdlePair measures two idle processes of the example servers, each with two services and two workers:
// startup time, and the memory, CPU share and open sockets of each.
func BenchmarkIdlePair(b *testing.B) {
	b.Run("embedded", func(b *testing.B) { idlePair(b, b.TempDir()) })
	b.Run("servers", func(b *testing.B) {
		dir := b.TempDir()
		config := fmt.Sprintf("mongodb: {uri: %q, db: afgen_idle}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
			devstack.Mongo(b), devstack.Redis(b), devstack.AMQP(b))
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
			b.Fatal(err)
		}
		idlePair(b, dir)
	})
}

func idlePair(b *testing.B, dir string) {
	programs.Path(b, "servers") // built before it is measured
	var ready time.Duration
	var pids []int
	for range 2 {
		begun := time.Now()
		servers := start(b, dir, "servers")
		servers.Line("msg=started")
		ready += time.Since(begun) / 2
		defer servers.Stop()
		pids = append(pids, servers.PID())
	}
	const watched = 5 * time.Second
	for b.Loop() {
		before := ticks(b, pids)
		time.Sleep(watched)
		used := time.Duration(ticks(b, pids)-before) * 10 * time.Millisecond / 2
		b.ReportMetric(100*used.Seconds()/watched.Seconds(), "%core")
	}
	b.ReportMetric(float64(ready.Microseconds())/1000, "start-ms")
	b.ReportMetric(memory(b, pids[0]), "RSS-MB")
	b.ReportMetric(float64(sockets(b, pids[0])), "sockets")
	b.ReportMetric(0, "ns/op")
}

// sockets counts the open sockets of a process, including listening ones.
func sockets(b *testing.B, pid int) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// ticks sums the CPU time of processes, in hundredths of a second.
func ticks(b *testing.B, pids []int) (sum int) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		for _, field := range strings.Fields(after)[11:13] {
			n, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// memory returns the resident memory of a process, in MB.
func memory(b *testing.B, pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kB, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kB) / 1024
}
