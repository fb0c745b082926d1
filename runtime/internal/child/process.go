package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Config configures a child.
type Config struct {
	Kind   string
	Name   string
	Data   any     // for the child's Mark
	Memory int64   // limit in bytes; 0 means none
	Handle Handler // serves the child's requests
	Stderr io.Writer
}

// A Process is a child as seen by its parent. The caller of Start must close it.
type Process struct {
	*Conn
	cmd    *exec.Cmd
	tail   *tail
	killed atomic.Bool
	quit   chan time.Duration // receives the maximum duration of Quit
	kill   chan struct{}      // closed by Kill
	once   sync.Once
	dead   chan struct{} // closed when the child has been reaped
	exit   error         // how it ended; valid after dead is closed
}

// exitGrace is how long a closed child, which has nothing left to do, may take to exit.
const exitGrace = 100 * time.Millisecond

// Start starts a child. After an error there is no child and the work has not started.
func Start(c Config) (*Process, error) {
	data, err := json.Marshal(c.Data)
	if err != nil {
		return nil, err
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	p := &Process{tail: &tail{to: c.Stderr}, quit: make(chan time.Duration, 1), kill: make(chan struct{}),
		dead: make(chan struct{})}
	var files pipes
	if err := files.open(); err != nil {
		return nil, err
	}
	p.Conn = newConn(files.in, files.out)
	p.Conn.handler.Store(&c.Handle)
	if p.cmd, err = command(); err != nil {
		files.close()
		return nil, err
	}
	mark := Mark{Kind: c.Kind, Name: c.Name, Memory: c.Memory, Data: data}
	p.cmd.Stdout, p.cmd.Stderr = os.Stdout, files.childErr
	files.hand(p.cmd, &mark)
	text, err := json.Marshal(mark)
	if err != nil {
		files.close()
		return nil, err
	}
	p.cmd.Env = append(os.Environ(), Env+"="+string(text))
	if c.Memory > 0 { // collect more often before the limit is reached
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", c.Memory/10*9))
	}
	started := make(chan error)
	go p.keep(&files, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// command returns a command that runs this program.
func command() (*exec.Cmd, error) {
	path, err := executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Args = os.Args
	setup(cmd)
	return cmd, nil
}

// keep starts the child, waits until it exits or must be killed, and reaps it. It locks its OS thread, because the
// kernel treats the exit of the thread that started a child as the death of its parent.
func (p *Process) keep(files *pipes, started chan<- error) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	err := p.cmd.Start()
	files.closeChilds()
	if err != nil {
		files.close()
		started <- err
		return
	}
	var readers sync.WaitGroup
	drained := make(chan struct{})
	readers.Go(p.read)
	go func() {
		defer close(drained)
		io.Copy(p.tail, files.err) // ends when all writers have closed the pipe
	}()
	started <- nil
	select {
	case most := <-p.quit:
		p.await(most)
	case <-p.kill:
	case <-p.Conn.done:
	}
	killGroup(p.cmd)
	p.exit = p.cmd.Wait()
	files.close() // also unblocks a write
	readers.Wait()
	select {
	case <-drained:
	case <-time.After(time.Second): // a process outside the group holds it
	}
	files.err.Close() // ends the copy in any case
	<-drained
	p.served.Wait()
	close(p.dead)
}

// await makes the child write its stacks, and waits for its exit.
func (p *Process) await(most time.Duration) {
	if !askForStacks(p.cmd) {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-p.kill:
	case <-p.Conn.done:
	case <-timer.C:
	}
}

// An End determines how a request ends after its context has: the child receives Fault and may reply within Grace.
// Then it is quit within Quit, or killed at once if Quit is 0.
type End struct {
	Fault *Fault
	Grace time.Duration
	Quit  time.Duration
}

// QuitMost is how long a hanging child may take to write its stacks if time isn't short.
const QuitMost = time.Second

// Do sends a request to the child and waits for the reply. When ctx ends, the request ends as returned by end for the
// cause. The error is a *[Fault] if the child replied with one, and an *[ExitError] if the child exited. It is
// another error if the request couldn't be sent or the reply not be decoded.
func (p *Process) Do(ctx context.Context, op string, in, out any, end func(cause error) End) error {
	unsent := context.AfterFunc(ctx, p.Kill) // a child that doesn't read would block the write
	pending, err := p.Begin(ctx, op, in)
	unsent()
	if err == nil {
		stop := context.AfterFunc(ctx, func() {
			e := end(context.Cause(ctx))
			kill := time.AfterFunc(e.Grace, func() { p.Quit(e.Quit) })
			defer kill.Stop()
			_ = pending.Cancel(e.Fault) // if it can't be sent, the child is killed
			<-pending.Done()
		})
		defer stop()
		<-pending.Done()
		err = pending.Reply(out)
	}
	if errors.Is(err, ErrGone) {
		return p.Exit()
	}
	return err
}

// Ready is closed when the child is ready.
func (p *Process) Ready() <-chan struct{} { return p.ready }

// Dead is closed when the child's group is gone and the child has been reaped.
func (p *Process) Dead() <-chan struct{} { return p.dead }

// Quit ends a hanging child: on SIGQUIT it writes its goroutines' stacks to stderr and exits. If that takes longer
// than most, or the system has no such signal, the child is killed. Quit doesn't block.
func (p *Process) Quit(most time.Duration) {
	if most <= 0 {
		p.Kill()
		return
	}
	p.markKilled()
	select {
	case p.quit <- most:
	default:
	}
}

// Kill kills the child and its group. It doesn't block.
func (p *Process) Kill() {
	p.once.Do(func() {
		p.markKilled()
		close(p.kill)
	})
}

func (p *Process) markKilled() {
	select {
	case <-p.Conn.done: // it exited by itself
	default:
		p.killed.Store(true)
	}
}

// Stderr returns the end of the child's stderr, at most 64 KiB.
func (p *Process) Stderr() []byte { return p.tail.end() }

// Close ends an idle child and waits until it has been reaped. It may be called several times.
func (p *Process) Close() {
	select {
	case <-p.Conn.done:
	case <-p.dead:
	case <-time.After(exitGrace):
	}
	p.once.Do(func() { close(p.kill) })
	<-p.dead
}

// An ExitError describes an unexpected exit of a child.
type ExitError struct {
	State  string // such as "exit status 3" or "signal: killed"
	Killed bool   // by this process
	// Terminated is set if SIGTERM or SIGINT, as sent by supervisors and terminals, ended it.
	Terminated bool
	Stderr     string // the end of its stderr, or its last panic; at most 4 KiB
}

// Error describes the exit, followed by the end of stderr.
func (e *ExitError) Error() string {
	text := e.Brief()
	if e.Stderr != "" {
		text += "; its stderr ends:\n" + e.Stderr
	}
	return text
}

// Brief is Error without stderr.
func (e *ExitError) Brief() string {
	if e.Killed {
		return "child process was killed"
	}
	return "child process ended: " + e.State
}

// Code returns resource_exhausted if the child ran out of memory according to its stderr, and internal otherwise.
func (e *ExitError) Code() backend.Code {
	if strings.Contains(e.Stderr, "out of memory") || strings.Contains(e.Stderr, "cannot allocate memory") {
		return backend.ErrResourceExhausted
	}
	return backend.ErrInternal
}

// Exit waits until the child has been reaped and returns how it ended.
func (p *Process) Exit() *ExitError {
	<-p.dead
	e := &ExitError{State: "exit status 0", Killed: p.killed.Load(), Stderr: p.tail.excerpt()}
	if exit, ok := errors.AsType[*exec.ExitError](p.exit); ok {
		e.State = exit.ProcessState.String()
		e.Terminated = terminated(exit.ProcessState)
	} else if p.exit != nil {
		e.State = p.exit.Error()
	}
	return e
}

// pipes are the files between a parent and a child.
type pipes struct {
	in, out, err                *os.File // the parent's
	childIn, childOut, childErr *os.File // the child's
}

func (f *pipes) open() error {
	for _, p := range []struct{ r, w **os.File }{{&f.in, &f.childOut}, {&f.childIn, &f.out}, {&f.err, &f.childErr}} {
		var err error
		if *p.r, *p.w, err = os.Pipe(); err != nil {
			f.close()
			return err
		}
	}
	return nil
}

func (f *pipes) closeChilds() {
	f.childIn.Close()
	f.childOut.Close()
	f.childErr.Close()
}

// close closes all files except those that a reader of stderr may still need. Closing twice is harmless.
func (f *pipes) close() {
	f.in.Close()
	f.out.Close()
	f.closeChilds()
}
