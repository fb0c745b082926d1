package examples_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkIdlePair: two processes of the example servers on one file, with nothing to do: how long one takes to be ready,
// the memory that each has, and how much of a core.
func BenchmarkIdlePair(b *testing.B) {
	bin, folder := build(b), b.TempDir()
	var ready time.Duration
	var pids []int
	for range 2 {
		cmd := exec.Command(filepath.Join(bin, "servers"))
		cmd.Dir = folder
		log, err := cmd.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { _, _ = cmd.Process.Signal(os.Interrupt), cmd.Wait() }()
		if line, err := bufio.NewReader(log).ReadString('\n'); !strings.Contains(line, "started") {
			b.Fatalf("%q, %v", line, err)
		}
		ready += time.Since(begun) / 2
		pids = append(pids, cmd.Process.Pid)
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
	b.ReportMetric(0, "ns/op")
}

// ticks sums what processes have used of processors, in hundredths of a second.
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

// memory is what a process has in memory, in MB.
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
