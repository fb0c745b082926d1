package child

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// reapEvery is the interval of Reap. It reaps processes that have been zombies for at least that long.
const reapEvery = 250 * time.Millisecond

// Reap reaps orphans that this process inherits as process 1 of a container, until ctx ends. In any other process it
// does nothing. It skips processes that package os may wait for: those that this process started or found, and holds
// a handle for. Without such handles (before Linux 5.4) or /proc it can't distinguish them and reaps nothing.
func Reap(ctx context.Context) {
	if os.Getpid() == 1 && tellsOrphans() {
		reapOrphans(ctx, reapEvery)
	}
}

func reapOrphans(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var orphans map[int]bool
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		orphans = reap(orphans)
	}
}

// reap reaps the orphans that were zombies at the last look as well, which leaves time for callers that wait for
// processes without package os. It returns the new ones.
func reap(before map[int]bool) map[int]bool {
	if !anyZombie() {
		return nil
	}
	orphans := map[int]bool{}
	for pid, state := range ownChildren() {
		orphans[pid] = state == 'Z'
	}
	for pid := range handles() { // read after the children: ended processes keep their handles
		delete(orphans, pid)
	}
	for pid, zombie := range orphans {
		if zombie && before[pid] {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // an error means that it has been reaped
		}
		if !zombie || before[pid] {
			delete(orphans, pid)
		}
	}
	return orphans
}

// tellsOrphans reports whether handles finds all processes that package os may wait for.
func tellsOrphans() bool {
	self := os.Getpid()
	if link, err := os.Readlink("/proc/self"); err != nil || link != strconv.Itoa(self) {
		return false // not mounted, or of another namespace
	}
	p, err := os.FindProcess(self)
	if err != nil {
		return false
	}
	defer p.Release()
	return handles()[self]
}

// anyZombie reports whether any child is waiting to be reaped. It reaps nothing.
func anyZombie() bool {
	var info [16]int64 // a siginfo_t, which begins with the signal number: 0 if there is none
	const all, exited, noWait = 0, 0x4, 0x01000000
	_, _, err := syscall.Syscall6(syscall.SYS_WAITID, all, 0, uintptr(unsafe.Pointer(&info)),
		exited|noWait|syscall.WNOHANG, 0, 0)
	return err == 0 && *(*int32)(unsafe.Pointer(&info)) != 0
}

// ownChildren returns the states of this process's children by pid.
func ownChildren() map[int]byte {
	children := map[int]byte{}
	self := strconv.Itoa(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		end := bytes.LastIndexByte(stat, ')') // of its name, which may contain any byte
		if err != nil || end < 0 {
			continue // it has been reaped
		}
		fields := bytes.Fields(stat[end+1:])
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && len(fields) > 1 && string(fields[1]) == self {
			children[pid] = fields[0][0]
		}
	}
	return children
}

// handles returns the pids of the processes for which this process holds a pidfd.
func handles() map[int]bool {
	pids := map[int]bool{}
	infos, _ := filepath.Glob("/proc/self/fdinfo/*") // the pattern is valid
	for _, name := range infos {
		info, err := os.ReadFile(name)
		if err != nil {
			continue // it has been closed
		}
		for line := range bytes.Lines(info) {
			if number, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
				if pid, err := strconv.Atoi(string(bytes.TrimSpace(number))); err == nil {
					pids[pid] = true
				}
			}
		}
	}
	return pids
}
