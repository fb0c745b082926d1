//go:build unix

package testkit_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.Children{"server": serve, "sleeper": sleep}.Run()
	os.Exit(m.Run())
}

// serve is a program that runs until SIGTERM, and ends with the code 3 after SIGHUP.
func serve() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	fmt.Print("listening on ")
	fmt.Fprintln(os.Stderr, "everywhere")
	if <-signals == syscall.SIGHUP {
		fmt.Println("no config")
		return 3
	}
	fmt.Println("bye")
	return 0
}

func sleep() int {
	fmt.Println("sleeping", os.Getpid())
	select {}
}

// program returns the command of a child whose standard error is not that of the test.
func program(name string) *exec.Cmd {
	cmd := testkit.Command(name)
	cmd.Stderr = nil
	return cmd
}

func TestProcess(t *testing.T) {
	const written = "listening on everywhere\n"
	t.Run("stop", func(t *testing.T) {
		p := testkit.Launch(t, program("server"))
		if line := p.Line("where"); line != "listening on everywhere" {
			t.Errorf("the line is %q", line)
		}
		if out := p.Stop(); out != written+"bye\n" {
			t.Errorf("the output is %q", out)
		}
	})
	t.Run("exit_code", func(t *testing.T) {
		cmd := program("server")
		var out strings.Builder
		cmd.Stdout = &out
		p := testkit.Launch(t, cmd)
		p.Line("everywhere")
		p.Signal(syscall.SIGHUP)
		if code := p.Wait(); code != 3 || p.Output() != "everywhere\n" || out.String() != "listening on no config\n" {
			t.Errorf("exit code %d, %q and %q", code, p.Output(), out.String())
		}
	})
	t.Run("kill", func(t *testing.T) {
		p := testkit.Launch(t, program("sleeper"))
		p.Until("it sleeps", func(output string) bool { return strings.HasSuffix(output, "\n") })
		if p.Kill(); p.Wait() != -1 || p.Output() != fmt.Sprintln("sleeping", p.PID()) {
			t.Errorf("%q", p.Output())
		}
	})
}

// What a process does not do fails its test, and the log has the output.
func TestProcessFails(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(*testkit.Process)
		want string
	}{
		"line": {func(p *testkit.Process) {
			p.Signal(syscall.SIGHUP)
			p.Line("ready")
		}, "has ended (exit status 3) before: a line with ready"},
		"code": {func(p *testkit.Process) {
			p.Signal(syscall.SIGHUP)
			p.Wait()
			p.Stop()
		}, "process already finished"},
		"stop": {func(p *testkit.Process) {
			p.Kill()
			p.Stop()
		}, "process already finished"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{TB: t}
			done := make(chan struct{})
			go func() { // Fatalf ends it
				defer close(done)
				p := testkit.Launch(f, program("server"))
				p.Line("everywhere")
				tt.do(p)
			}()
			<-done
			f.end()
			if log := f.log.String(); !strings.Contains(log, tt.want) || !strings.Contains(log, "listening on everywhere\n") {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}

// failing is a test that keeps its failure.
type failing struct {
	testing.TB
	log     strings.Builder
	failed  bool
	cleanup []func()
}

func (f *failing) Helper()           {}
func (f *failing) Failed() bool      { return f.failed }
func (f *failing) Cleanup(do func()) { f.cleanup = append(f.cleanup, do) }

func (f *failing) Logf(format string, args ...any) { fmt.Fprintf(&f.log, format+"\n", args...) }

func (f *failing) Errorf(format string, args ...any) {
	f.Logf(format, args...)
	f.failed = true
}

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	goruntime.Goexit()
}

func (f *failing) end() {
	for _, do := range f.cleanup {
		do()
	}
}

// A test that is killed leaves no process.
func TestKilledTestLeavesNoProcess(t *testing.T) {
	if goruntime.GOOS != "linux" {
		return // other systems do not have it
	}
	test := exec.Command(os.Args[0], "-test.run=^TestLauncher$", "-test.v")
	test.Env = append(os.Environ(), launcher+"=1", "GORACE=atexit_sleep_ms=0")
	p := testkit.Launch(t, test)
	var pid int
	if _, err := fmt.Sscanf(p.Line("sleeping "), "sleeping %d", &pid); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	testkit.Eventually(t, "the process has ended", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ") // its new parent may not wait for it
	})
}

const launcher = "AF_TEST_LAUNCHER"

// TestLauncher is the test that TestKilledTestLeavesNoProcess kills.
func TestLauncher(t *testing.T) {
	if os.Getenv(launcher) == "" {
		return
	}
	fmt.Println(testkit.Launch(t, program("sleeper")).Line("sleeping "))
	select {}
}
