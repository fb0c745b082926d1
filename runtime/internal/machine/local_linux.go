package machine

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// describe reads the facts from /etc and /proc.
func describe(context.Context) Facts {
	f := Basics(identity())
	release := pairs(firstOf("/etc/os-release", "/usr/lib/os-release"), "=")
	f.Platform, f.Version = strings.ToLower(release["ID"]), release["VERSION_ID"]
	f.Kernel = firstOf("/proc/sys/kernel/osrelease")
	cpus := 0
	for line := range strings.Lines(firstOf("/proc/cpuinfo")) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "processor":
			cpus++
		case "model name":
			f.CPUModel = strings.TrimSpace(value)
		}
	}
	if cpus > 0 {
		f.CPUs = cpus // including those that this process may not use
	}
	return f
}

// identity returns the system's identifier of the machine. Only root may read the second file.
func identity() string {
	return strings.ToLower(firstOf("/etc/machine-id", "/sys/class/dmi/id/product_uuid", "/proc/sys/kernel/random/boot_id"))
}

// read reads the usage from /proc.
func read(context.Context) Reading {
	var r Reading
	memory := pairs(firstOf("/proc/meminfo"), ":")
	kilobytes := func(name string) uint64 { return uint64(number(strings.TrimSuffix(memory[name], " kB"))) << 10 }
	r.MemoryTotal = kilobytes("MemTotal")
	r.MemoryUsed = r.MemoryTotal - min(kilobytes("MemAvailable"), r.MemoryTotal)
	var disk syscall.Statfs_t
	if syscall.Statfs("/", &disk) == nil {
		block := uint64(disk.Bsize)
		r.DiskTotal, r.DiskUsed = disk.Blocks*block, (disk.Blocks-disk.Bfree)*block
	}
	if load := strings.Fields(firstOf("/proc/loadavg")); len(load) > 2 {
		r.Load1, r.Load5, r.Load15 = number(load[0]), number(load[1]), number(load[2])
	}
	// cpu user nice system idle iowait irq softirq steal; user and nice include guests.
	line, _, _ := strings.Cut(firstOf("/proc/stat"), "\n")
	for i, field := range strings.Fields(line) {
		if i == 0 || i > 8 {
			continue
		}
		ticks := number(field) / 100
		if r.Total += ticks; i != 4 && i != 5 {
			r.Busy += ticks
		}
	}
	return r
}

// firstOf returns the trimmed text of the first file that is readable and not empty.
func firstOf(files ...string) string {
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && len(strings.TrimSpace(string(text))) > 0 {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}

// pairs parses lines of names and values, and unquotes values.
func pairs(text, separator string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, separator)
		values[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
	}
	return values
}

// number parses a number, or returns 0.
func number(text string) float64 {
	n, _ := strconv.ParseFloat(text, 64)
	return n
}
