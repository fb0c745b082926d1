package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// interruptWait is how long a step may take to end after an interrupt.
const interruptWait = 20 * time.Second

const module = "github.com/afgen/afgen/"

// uninstrumented compiles SQLite, which is C translated to Go, without the race detector. Its checks take most of the
// time of tests that use a file. The libraries around SQLite keep their checks: their locks order our accesses, and
// without them the detector reports false races. testkit.GoFlags passes the flag on; build info has only the last
// -gcflags.
const uninstrumented = "-gcflags=modernc.org/sqlite/lib=-race=false"

// compilerGC sets up the garbage collector of the compiler. Compared with a GOGC of 200, it saves a seventh of the
// processor time of small and medium packages. The limit keeps the largest, such as go-redis, at the 1.3 GB that they
// take anyway.
const compilerGC = "GOGC=800 GOMEMLIMIT=1536MiB"

// lintGC is GOGC for lint. It has no limit, because staticcheck's live memory may exceed any that suits compilers.
const lintGC = "200"

// A runner runs the steps of a tier.
type runner struct {
	tier     string
	goCmd    string
	flags    []string // for each go test
	packages []string // of the root module, by path below it
	race     bool
	begun    time.Time

	mu      sync.Mutex
	report  *report
	results []result
	failed  bool
}

// A result is the outcome of a step.
type result struct {
	name string
	took time.Duration
	cpu  time.Duration // of its processes; servers that outlive it don't count
	err  error
}

func newRunner(tier string, flags []string) (*runner, error) {
	r := &runner{tier: tier, goCmd: "go", flags: flags, begun: time.Now(), report: newReport(os.Stdout)}
	if g := os.Getenv("GO"); g != "" {
		r.goCmd = g
	}
	out, err := exec.Command(r.goCmd, "list", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list ./...: %w", err)
	}
	for _, p := range strings.Fields(string(out)) {
		r.packages = append(r.packages, strings.TrimPrefix(p, module))
	}
	r.packages = slowFirst(r.packages)
	r.report.hasAll = tier != "test"
	if out, err = exec.Command(r.goCmd, "env", "CC").Output(); err != nil {
		return nil, fmt.Errorf("go env CC: %w", err)
	}
	cc := strings.Fields(string(out))
	if len(cc) > 0 {
		_, err := exec.LookPath(cc[0])
		r.race = err == nil
	}
	if !r.race {
		r.report.untested = append(r.report.untested, "data races (-race needs a C compiler, and none is installed)")
	}
	return r, nil
}

// run runs the phases of a tier.
func (r *runner) run(ctx context.Context, t tier) {
	lane := func(l lane) {
		for _, s := range l {
			if ctx.Err() != nil || r.stop(t) {
				return
			}
			r.step(ctx, s)
		}
	}
	var filler sync.WaitGroup
	filler.Go(func() { lane(t.filler) })
	for _, p := range t.phases {
		var lanes sync.WaitGroup
		for _, l := range p {
			lanes.Go(func() { lane(l) })
		}
		lanes.Wait()
	}
	filler.Wait()
	if err := context.Cause(ctx); err != nil {
		r.report.fail("interrupted: %v", err)
	}
}

// stop reports whether no more steps must begin.
func (r *runner) stop(t tier) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed && !t.keepGoing
}

// step runs a step and records its result.
func (r *runner) step(ctx context.Context, s step) {
	begun := time.Now()
	var cpu time.Duration
	var err error
	if s.command != nil {
		cpu, err = r.runCommand(ctx, s)
	} else {
		cpu, err = r.runTests(ctx, s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, result{s.name, time.Since(begun), cpu, err})
	r.failed = r.failed || err != nil
}

// cpuOf returns the processor time of a command that has ended.
func cpuOf(cmd *exec.Cmd) time.Duration {
	if cmd.ProcessState == nil {
		return 0
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// runCommand runs a command. It prints the command's output only on failure.
func (r *runner) runCommand(ctx context.Context, s step) (cpu time.Duration, err error) {
	begun := time.Now()
	cmd := r.command(ctx, s, s.command)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		r.report.fail("%s: %v\n%s", s.name, err, out.Bytes())
		return cpuOf(cmd), err
	}
	r.report.done(s.name, "", time.Since(begun))
	return cpuOf(cmd), nil
}

// testArgs returns the go test command of a step, and its environment in addition to the runner's.
func (r *runner) testArgs(s step) (args, env []string, err error) {
	// Lint runs all of go vet.
	args, env = []string{r.goCmd, "test", "-json", "-vet=off", "-timeout=60m"}, s.env
	if _, err := exec.LookPath("env"); err == nil {
		args = append(args, "-toolexec=env "+compilerGC) // the tests themselves keep the default
	}
	if s.race && r.race {
		// Each of these processes would sleep for a second at its end, while the detector waits for more races.
		env = append([]string{"CGO_ENABLED=1", "GORACE=atexit_sleep_ms=50 " + os.Getenv("GORACE")}, env...)
		args = append(args, "-race", uninstrumented)
	}
	// Packages first: after a flag of the test binary, go test passes the remaining arguments to the tests.
	if s.packages == nil {
		args = append(args, "./...")
	}
	var patterns []string
	for _, p := range r.packages {
		if s.packages == nil || !s.packages(p) {
			continue
		}
		args = append(args, module+p)
		if s.reduced {
			pattern, err := fullLength(filepath.FromSlash(p))
			if err != nil {
				return nil, nil, err
			}
			patterns = append(patterns, pattern)
		}
	}
	if s.reduced {
		args = append(args, "-run="+strings.Join(patterns, "|"))
	}
	return append(append(args, s.flags...), r.flags...), env, nil
}

// runTests runs go test and reads its events.
func (r *runner) runTests(ctx context.Context, s step) (cpu time.Duration, err error) {
	args, env, err := r.testArgs(s)
	if err != nil {
		r.report.fail("%s: %v", s.name, err)
		return 0, err
	}
	s.env = env
	cmd := r.command(ctx, s, args)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	events, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		r.report.fail("%s: %v", s.name, err)
		return 0, err
	}
	readErr := r.report.read(events, s.name)
	_, _ = io.Copy(io.Discard, events) // the rest after an unreadable event
	err = errors.Join(readErr, cmd.Wait())
	if err != nil {
		r.report.fail("%s: go test: %v\n%s", s.name, err, problems.Bytes())
	}
	return cpuOf(cmd), err
}

func (r *runner) command(ctx context.Context, s step, args []string) *exec.Cmd {
	args = append(priority(s), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), s.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptWait
	return cmd
}

// priority returns the command that runs a step at its priority, if that is not the normal one and the system has it.
func priority(s step) []string {
	switch {
	case s.idle && exec.Command("chrt", "--idle", "0", "true").Run() == nil:
		return []string{"chrt", "--idle", "0"}
	case s.idle, s.nice:
		if path, err := exec.LookPath("nice"); err == nil {
			n := "10"
			if s.idle {
				n = "19"
			}
			return []string{path, "-n", n}
		}
	}
	return nil
}

// sweep stops the servers that the tests have started.
func (r *runner) sweep() {
	if out, err := exec.Command(r.goCmd, "run", "./internal/devstack/stack", "sweep").CombinedOutput(); err != nil {
		r.report.fail("stopping the servers: %v\n%s", err, out)
	}
}

// finish prints the summary and reports whether the tier has passed.
func (r *runner) finish(require bool) bool {
	fmt.Printf("\n%s took %v:", r.tier, time.Since(r.begun).Round(time.Second))
	for _, s := range r.results {
		fmt.Printf(" %s %v (CPU %v),", s.name, s.took.Round(time.Second), s.cpu.Round(time.Second))
	}
	fmt.Println(" load", load())
	return r.report.finish(require) && !r.failed
}

// load returns the machine's load average, if available.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
