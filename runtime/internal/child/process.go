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

// A Config says what child to start.
type Config struct {
	Kind   string
	Name   string
	Data   any     // for the child's Mark
	Memory int64   // in bytes; 0 doesn't limit
	Handle Handler // of the child's requests
	Stderr io.Writer
}

// A Process is a child as its parent sees it. Whoever started it closes it.
type Process struct {
	*Conn
	cmd    *exec.Cmd
	tail   *tail
	killed atomic.Bool
	quit   chan time.Duration // has an element after Quit: how long it may take
	kill   chan struct{}      // closed by Kill
	once   sync.Once
	dead   chan struct{} // closed when it has been reaped
	exit   error         // how it ended; read it once dead is closed
}

// exitGrace is how long a child may take to go by itself once it is closed: it has nothing to do any more.
const exitGrace = 100 * time.Millisecond

// Start starts a child. An error means that there is none, which says nothing about the work.
func Start(c Config) (*Process, error) {
	data, err := json.Marshal(c.Data)
	if err != nil {
		return nil, err
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	p := &Process{tail: &tail{to: c.Stderr}, quit: make(chan time.Duration, 1), kill: make(chan struct{}), dead: make(chan struct{})}
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
	if c.Memory > 0 { // the collector works harder before the limit is reached
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", c.Memory/10*9))
	}
	started := make(chan error)
	go p.keep(&files, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// command is this program again.
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

// keep starts the child, waits until it has gone or is to be killed, and reaps it. It keeps its thread: the kernel
// takes the end of the thread that started a child for the end of its parent.
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
		io.Copy(p.tail, files.err) // ends with the last who has the other end
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
	files.close() // also lets a blocked write go
	readers.Wait()
	select {
	case <-drained:
	case <-time.After(time.Second): // somebody has left the group with it
	}
	files.err.Close() // ends the copy, whatever it returns
	<-drained
	p.served.Wait()
	close(p.dead)
}

// await has the child write its stacks down, and waits until it has ended by that.
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

// An End is how a request ends whose context has ended: the child is told the Fault and may take the time Grace to answer.
// Then it is quit within Quit, or killed at once if that is 0.
type End struct {
	Fault *Fault
	Grace time.Duration
	Quit  time.Duration
}

// QuitMost is how long a child that hangs may take to write its stacks down, if nothing presses.
const QuitMost = time.Second

// Do has the child do something, and waits for the reply. When ctx ends the request is ended as end says of the cause. The
// error is a *[Fault] if the child has answered with one, an *[ExitError] if it has ended, and any other if the request could
// not be made or the reply not be read.
func (p *Process) Do(ctx context.Context, op string, in, out any, end func(cause error) End) error {
	unsent := context.AfterFunc(ctx, p.Kill) // a child that doesn't read would hold up what is sent
	pending, err := p.Begin(ctx, op, in)
	unsent()
	if err == nil {
		stop := context.AfterFunc(ctx, func() {
			e := end(context.Cause(ctx))
			kill := time.AfterFunc(e.Grace, func() { p.Quit(e.Quit) })
			defer kill.Stop()
			_ = pending.Cancel(e.Fault) // where it doesn't get through the child is killed
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

// Ready is closed when the child has said that it is.
func (p *Process) Ready() <-chan struct{} { return p.ready }

// Dead is closed when the child has gone, with what it has started, and has been reaped.
func (p *Process) Dead() <-chan struct{} { return p.dead }

// Quit ends a child that hangs: by SIGQUIT it writes the stacks of its goroutines to stderr and ends. If that takes longer
// than most, or there is no such signal, the child is killed. Quit doesn't wait.
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

// Kill kills the child and its group. It doesn't wait.
func (p *Process) Kill() {
	p.once.Do(func() {
		p.markKilled()
		close(p.kill)
	})
}

func (p *Process) markKilled() {
	select {
	case <-p.Conn.done: // it went by itself
	default:
		p.killed.Store(true)
	}
}

// Stderr returns the end of what the child has written there, of 64 KiB at most.
func (p *Process) Stderr() []byte { return p.tail.end() }

// Close ends a child that has nothing to do any more, and waits until it has been reaped. It may be called again.
func (p *Process) Close() {
	select {
	case <-p.Conn.done:
	case <-p.dead:
	case <-time.After(exitGrace):
	}
	p.once.Do(func() { close(p.kill) })
	<-p.dead
}

// An ExitError is the end of a child that was not meant to end.
type ExitError struct {
	State  string // such as "exit status 3" or "signal: killed"
	Killed bool   // by this process
	// Terminated is set if SIGTERM or SIGINT has ended it, as a supervisor or a terminal sends them.
	Terminated bool
	Stderr     string // the end of what it wrote there, or its last panic; at most 4 KiB
}

// Error says how the child ended, and ends with what it wrote to stderr.
func (e *ExitError) Error() string {
	text := e.Brief()
	if e.Stderr != "" {
		text += "; its stderr ends:\n" + e.Stderr
	}
	return text
}

// Brief is Error without what the child wrote.
func (e *ExitError) Brief() string {
	if e.Killed {
		return "the child process was killed"
	}
	return "the child process ended: " + e.State
}

// Code is resource_exhausted where the child says that it had no memory, and internal otherwise.
func (e *ExitError) Code() backend.Code {
	if strings.Contains(e.Stderr, "out of memory") || strings.Contains(e.Stderr, "cannot allocate memory") {
		return backend.ErrResourceExhausted
	}
	return backend.ErrInternal
}

// Exit waits until the child has been reaped, and says how it ended.
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

// close closes all but what a reader of stderr may still need; closing a file again, or none, is harmless.
func (f *pipes) close() {
	f.in.Close()
	f.out.Close()
	f.closeChilds()
}
