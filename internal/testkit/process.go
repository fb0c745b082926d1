package testkit

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// drainTime is how long the output of an ended process may be held open by processes that it has started.
const drainTime = 5 * time.Second

// A Process is a running program. Its methods fail the test that has launched it, so they are for the goroutine of that
// test.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	output output
	ended  chan struct{} // closed when the process has ended and its output is complete
}

// Launch starts a command. It collects what the process writes, to standard output and standard error unless the
// command has other writers. The process is killed at the end of the test, and on Linux also if the process of the test
// is killed. If the test has failed, its log has the output.
func Launch(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.output
	}
	cmd.WaitDelay = drainTime
	dieWithParent(cmd)
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, p.Output())
		}
	})
	return p
}

// run starts the process and waits until it has ended. Its thread is the parent for which dieWithParent watches.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // Wait returns the exit code
	}
	close(p.ended)
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the process has written so far.
func (p *Process) Output() string {
	text, _ := p.output.read()
	return text
}

// Until waits until the output of the process fulfils a condition. It fails the test if the process ends before, and
// after two minutes.
func (p *Process) Until(what string, holds func(output string) bool) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		text, more := p.output.read()
		if holds(text) {
			return
		}
		select {
		case <-more:
		case <-p.ended:
			if !holds(p.Output()) {
				p.t.Fatalf("%s: the process has ended (%v) before: %s", p.cmd, p.cmd.ProcessState, what)
			}
			return
		case <-timeout:
			p.t.Fatalf("%s: not within %v: %s", p.cmd, patience, what)
		}
	}
}

// Line waits for the first line of output that contains a text, and returns it. It fails the test as Until does.
func (p *Process) Line(text string) (line string) {
	p.t.Helper()
	p.Until("a line with "+text, func(output string) bool {
		for l := range strings.Lines(output) {
			if strings.Contains(l, text) && strings.HasSuffix(l, "\n") {
				line = strings.TrimSuffix(l, "\n")
				return true
			}
		}
		return false
	})
	return line
}

// Signal sends a signal to the process, which must not have ended.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.cmd, err)
	}
}

// Wait waits until the process ends by itself, and returns its exit code, or -1 if a signal has ended it. After two
// minutes it fails the test and kills the process.
func (p *Process) Wait() (code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Errorf("%s: still runs after %v", p.cmd, patience)
		p.Kill()
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop sends SIGTERM, as a supervisor does, and waits until the process ends. It fails the test if the exit code is not
// 0. It returns the whole output.
func (p *Process) Stop() (output string) {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		p.t.Errorf("%s: exit code %d", p.cmd, code)
	}
	return p.Output()
}

// Kill kills the process, unless it has ended, and waits until it has.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.ended
}

// output is what a process has written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed by the next Write; nil if no reader waits for it
}

// Write implements [io.Writer].
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.text.Write(b)
}

// read returns the text, and a channel that is closed when there is more.
func (o *output) read() (text string, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.text.String(), o.more
}
