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

// kind is the environment variable that names the child that a process is.
const kind = "AF_TEST_CHILD"

// Children are the programs, by name, that a test binary can be instead of running its tests. Each returns its exit code.
type Children map[string]func() int

// Run runs the child that the environment names, and exits. It returns if the environment names none. TestMain calls it
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
	In  io.WriteCloser // its standard input
	Out *bufio.Reader  // its standard output
}

// Command returns a command that runs a child of this name, with variables added to those of this process. By default the race
// detector delays the exit of a process by a second, which would count in tests that measure how long a process takes to end:
// the child has no such delay.
func Command(name string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), kind+"="+name, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// Start starts the child of this name, with additional environment variables such as "NAME=value". At the end of the test
// the child is killed, unless the test has waited for it.
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
			_ = c.Process.Kill() // it may have ended meanwhile
			_ = c.Wait()         // that it was killed
		}
	})
	return c
}

// Says reads the next line that the child writes, and ends the test unless it is the wanted one.
func (c *Child) Says(t testing.TB, want string) {
	t.Helper()
	if line, err := c.Out.ReadString('\n'); line != want+"\n" {
		t.Fatalf("the child wrote %q, want %q: %v", line, want, err)
	}
}

// End closes the child's input, by which it knows that it is to end, and waits until it has, well.
func (c *Child) End(t testing.TB) {
	t.Helper()
	_ = c.In.Close() // an error of a pipe whose reader is gone; Wait tells why
	if err := c.Wait(); err != nil {
		t.Errorf("the child: %v", err)
	}
}
