package child

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func init() { mains["init"] = func(*Child) { os.Exit(beInit()) } }

// beInit inherits orphans, as process 1 does, and reaps them.
func beInit() int {
	const setSubreaper = 36
	if _, _, err := syscall.RawSyscall(syscall.SYS_PRCTL, setSubreaper, 1, 0); err != 0 {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if !tellsOrphans() {
		fmt.Fprintln(os.Stderr, "can't distinguish orphans from children")
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		reapOrphans(ctx, 20*time.Millisecond)
	}()
	own := exec.Command("sh", "-c", "exit 3")
	err := own.Start()
	if err == nil { // its orphans end later, some at once
		err = exec.Command("sh", "-c", "for i in 1 2 3; do true & sleep 0.1 & done; exit 0").Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	want := map[int]byte{own.Process.Pid: 'Z'}
	for deadline := time.Now().Add(20 * time.Second); !maps.Equal(ownChildren(), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "children %v, want %v\n", ownChildren(), want)
			return 1
		}
	}
	cancel()
	<-over
	if _ = own.Wait(); own.ProcessState == nil || own.ProcessState.ExitCode() != 3 {
		fmt.Fprintln(os.Stderr, "the exit of a child was taken from who waits for it:", own.ProcessState)
		return 1
	}
	return 0
}

// Orphans are reaped, but not processes that package os waits for.
func TestOrphansAreReaped(t *testing.T) {
	p, err := Start(Config{Kind: "test", Name: "init", Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	<-p.Dead()
	if exit := p.Exit(); exit.State != "exit status 0" {
		t.Errorf("it ended with %v", exit)
	}
}

// A process other than process 1 reaps nothing.
func TestOnlyProcessOneReaps(t *testing.T) {
	cmd := exec.Command("sh", "-c", "exit 0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	Reap(t.Context()) // returns immediately
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
