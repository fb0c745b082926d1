package testkit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// kind is the environment variable with the name of a child process.
const kind = "AF_TEST_CHILD"

// Children are programs by name that a test binary can run instead of its tests. Each returns its exit code.
type Children map[string]func() int

// Run runs the child named by the environment, and exits. It returns if the environment names none. TestMain calls it
// first.
func (c Children) Run() {
	name := os.Getenv(kind)
	if name == "" {
		return
	}
	run, ok := c[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: unknown child %q\n", kind, name)
		os.Exit(2)
	}
	os.Exit(run())
}

// A Child is a process of this test binary. It shares the test's standard error.
type Child struct {
	*exec.Cmd
	In  io.WriteCloser // standard input
	Out *bufio.Reader  // standard output
}

// Command returns a command that runs the child called name, with additional environment variables. By default the
// race detector delays the exit of a process by a second, which would distort tests that measure how long a process
// takes to exit; the child has no such delay.
func Command(name string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), kind+"="+name, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// Start starts the child called name, with additional environment variables such as "NAME=value". At the end of the
// test it kills the child, unless the test has waited for it.
func Start(t testing.TB, name string, env ...string) *Child {
	t.Helper()
	c := &Child{Cmd: Command(name, env...)}
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		t.Fatal(err)
	}
	c.In, c.Out = in, bufio.NewReader(out)
	if err := c.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill() // it may have exited
			_ = c.Wait()         // reports that it was killed
		}
	})
	return c
}

// Says reads the next line of the child's output, and fails the test unless it is the wanted one.
func (c *Child) Says(t testing.TB, want string) {
	t.Helper()
	if line, err := c.Out.ReadString('\n'); line != want+"\n" {
		t.Fatalf("the child wrote %q, want %q: %v", line, want, err)
	}
}

// End closes the child's input, which tells it to exit, and waits until it has exited successfully.
func (c *Child) End(t testing.TB) {
	t.Helper()
	_ = c.In.Close() // fails if the reader has exited; Wait returns the reason
	if err := c.Wait(); err != nil {
		t.Errorf("the child: %v", err)
	}
}
