//go:build unix

// Package chaos kills, stops and restarts processes and what they share. From a log of what really happened to their
// tasks it checks that the promises were kept: invariants I1 to I5 and I7 to I9 of docs/tasks.md.
//
//	func TestMain(m *testing.M) // runs chaos.Child if AF_TEST_CHILD is "chaos"
//	func TestChaos(t *testing.T) {
//		chaos.Main(t, "./runtime/backend/embedded", kinds, func(t *testing.T, dir string) chaos.World { … })
//	}
//
// # Parts
//
// A [Scenario] has the processes, the submits, and the events over time (scenario.go). A Fleet is these processes:
// each is the test's own binary, run again as a [Child], which executes commands and reports in lines (fleet.go,
// child.go). A [World] is what they share: a file or servers. It makes its own faults happen, and returns an audit of
// everything that was written, from the store and never from the processes. The trial compares the audit with the
// state table (internal/fault), with the acknowledgements, with the handlers that started, and with what was done to
// the processes (trial.go).
//
// # Two ways to use it
//
// [Main] runs scenarios generated from seeds. Timing is not seeded, so only the log shows what happened. [Begin]
// gives a test its own fleet, for faults at a certain step: the test drives it with the methods in drive.go and
// checks it with [Fleet.Check].
package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

var (
	chaosFor  = flag.Duration("chaos", 0, "run chaos scenarios for this long")
	chaosSeed = flag.Uint64("chaos-seed", 0, "the first scenario of chaos; 0 is 1, or with -chaos one by chance")
	chaosKeep = flag.Bool("chaos-keep", false, "keep the logs of scenarios of chaos in which nothing was broken")
	chaosOnly = flag.String("chaos-kind", "", "scenarios of chaos of this kind only")
)

const (
	shortStorm = 5 * time.Second
	longStorm  = 12 * time.Second
	settleMost = 3 * time.Minute  // after a storm; it tests liveness, not speed
	endMost    = 30 * time.Second // from SIGTERM to the exit of all
)

// A World is what the processes of a fleet share. Its methods are safe for concurrent use.
type World interface {
	// Address returns the address by which each process opens its backend.
	Address() string
	// Faults names the faults that Happen can cause. They are in addition to faults of processes.
	Faults() []string
	// Happen causes one of the Faults for d, or until calm is closed, and returns when it is over.
	Happen(what string, d time.Duration, calm <-chan struct{}) error
	// Again returns within how long the tasks of a killed process must run again if another process is free to run them.
	Again() time.Duration
	// Left returns how many tasks, sets of subtasks and batches are unfinished.
	Left(ctx context.Context) (int, error)
	// Held names what is still held after everything has ended, while the processes run (I9).
	Held(ctx context.Context) ([]string, error)
	// Audit returns what has happened. All processes have exited.
	Audit(begun time.Time) (*Audit, error)
	// Remains names what the processes have left behind and should not have (I9). All have exited.
	Remains() ([]string, error)
}

// An Audit is the store's record of what happened.
type Audit struct {
	Log    *fault.Log
	Owners map[*fault.Entry]string // whose claim each entry ended
	Stored map[string]backend.Task // at the end, as the store returns them
}

// Long reports whether there is time for more than a short scenario.
func Long() bool { return *chaosFor > 0 }

// Main runs scenarios: a short one of each kind, or as many of all kinds as the flag's time allows. pkg is the
// argument of go test that repeats one.
func Main(t *testing.T, pkg string, short []Kind, world func(t *testing.T, dir string) World) {
	kinds := []Kind{Everything, Kills, Rolling}
	if !Long() {
		kinds = slices.Clone(short[:testkit.Fewer(len(short), 1)])
	}
	kinds = slices.DeleteFunc(kinds, func(k Kind) bool { return *chaosOnly != "" && *chaosOnly != k.String() })
	var all tally
	defer func() { t.Log(all.String()) }()
	run := func(t *testing.T, kind Kind, seed uint64, storm time.Duration) {
		dir := tempDir(t)
		w := world(t, dir)
		f := Begin(t, NewScenario(kind, seed, storm, w.Faults()), w)
		f.storm()
		f.finish(dir, &all, fmt.Sprintf("go test %s -run Chaos -chaos-kind %v -chaos-seed %d (what happens at which moment "+
			"is not seeded)",
			pkg, kind, seed))
	}
	if !Long() {
		var done sync.WaitGroup
		for _, kind := range kinds { // in parallel, because they mostly wait
			done.Go(func() {
				t.Run(kind.String(), func(t *testing.T) { run(t, kind, max(*chaosSeed, 1), shortStorm) })
			})
		}
		done.Wait()
		return
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().Unix())
	}
	for begun := time.Now(); time.Since(begun) < *chaosFor && !t.Failed(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { run(t, kinds[seed%uint64(len(kinds))], seed, longStorm) })
	}
}

// tempDir returns a directory that is kept if the test fails. It isn't t.TempDir, because paths of sockets must be
// short.
func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "af-chaos")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A tally counts the events in all scenarios: one without events proves nothing.
type tally struct {
	mu        sync.Mutex
	scenarios int
	processes int
	rows      [13]int
	acks      int
	settled   []time.Duration
	again     []time.Duration
	anyhow    []time.Duration
	most      map[string]int
}

func (n *tally) count(tr *trial, settled time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.scenarios++
	n.processes += len(tr.fleet.processes())
	n.acks += len(tr.fleet.book.acks.All())
	for _, e := range tr.Log.Entries {
		for _, c := range e.Changes {
			n.rows[e.Row(c)]++
		}
	}
	n.settled = append(n.settled, settled)
	n.again, n.anyhow = append(n.again, tr.again...), append(n.anyhow, tr.anyhow...)
	if n.most == nil {
		n.most = map[string]int{}
	}
	for queue, m := range tr.most {
		n.most[queue] = max(n.most[queue], m)
	}
}

func (n *tally) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("%d scenarios, %d processes, %d acknowledged tasks; changes by row of the state table %v; "+
		"settled after a storm %s; "+
		"killed to running again %s, including those without a free process %s; claims of an owner not yet settled, at "+
		"most %v",
		n.scenarios, n.processes, n.acks, n.rows, quantiles(n.settled), quantiles(n.again), quantiles(n.anyhow), n.most)
}

func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "(none)"
	}
	slices.Sort(all)
	at := func(p int) time.Duration { return all[(len(all)-1)*p/100].Round(time.Millisecond) }
	return fmt.Sprintf("(%d) p50 %v p90 %v max %v", len(all), at(50), at(90), at(100))
}

// finish ends a fleet after its storm and fails the test for each broken promise. how is the command that repeats it.
func (f *Fleet) finish(dir string, all *tally, how string) {
	f.t.Helper()
	settled := f.settle()
	f.end()
	hunger := f.starved()
	broken := f.book.broken
	a, err := f.world.Audit(f.begun)
	if err != nil {
		f.t.Fatalf("%v: %v", broken, err)
	}
	tr := newTrial(a, f, hunger)
	tr.check()
	all.count(tr, settled)
	if len(tr.broken) == 0 && !f.t.Failed() && !*chaosKeep {
		_ = os.RemoveAll(dir)
		return
	}
	report := tr.report(dir)
	if len(tr.broken) == 0 {
		f.t.Logf("see %s for the log and the output of each process", dir)
		return
	}
	f.t.Errorf("%s\n%d broken promises; see %s for the log and the output of each process\n%s%ssettled after %v", how,
		len(tr.broken), dir, report, f.Scenario.String(), settled)
}

// report writes all records to a directory, and returns what concerns the broken promises.
func (t *trial) report(dir string) string {
	var ids []string
	var text strings.Builder
	for _, v := range t.broken[:min(len(t.broken), 20)] {
		for _, id := range v.Tasks {
			if id != "" {
				ids = append(ids, id)
			}
		}
		fmt.Fprintf(&text, "%v\n", v)
	}
	if len(ids) > 0 {
		text.WriteString(t.Log.String(ids...))
	}
	for _, p := range t.fleet.processes() {
		fmt.Fprintf(&text, "place %d, %.6s: ready %s, left %s, killed %v, code %d, stopped", p.place,
			p.instance, t.fleet.since(p.since),
			t.fleet.since(p.leaves), p.killed, p.code)
		for _, s := range p.stops {
			fmt.Fprintf(&text, " %s to %s", t.fleet.since(s.from), t.fleet.since(s.to))
		}
		text.WriteString("\n")
		_ = os.WriteFile(filepath.Join(dir, "stderr-"+p.instance), p.stderr.Bytes(), 0o600)
	}
	for _, s := range t.starved {
		fmt.Fprintf(&text, "starved from %s to %s\n", t.fleet.since(s.from), t.fleet.since(s.to))
	}
	all := t.Log.String() + strings.Join(t.fleet.book.notes, "\n")
	_ = os.WriteFile(filepath.Join(dir, "log"), []byte(all), 0o600)
	return text.String()
}

func (f *Fleet) since(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.3fs", at.Sub(f.begun).Seconds())
}

// watchHunger records when this process doesn't get to run. The returned function ends that.
func watchHunger() func() []stretch {
	const step, hungry = 20 * time.Millisecond, 500 * time.Millisecond
	stop, done := make(chan struct{}), make(chan []stretch, 1)
	go func() {
		var all []stretch
		for last := time.Now(); ; {
			select {
			case <-stop:
				done <- all
				return
			case <-time.After(step):
			}
			now := time.Now()
			if now.Sub(last) > hungry {
				all = append(all, stretch{last, now})
			}
			last = now
		}
	}()
	return sync.OnceValue(func() []stretch {
		close(stop)
		return <-done
	})
}

// storm runs the scenario. It returns when the scenario is over and every place has a process.
func (f *Fleet) storm() {
	begun := time.Now()
	for n, u := range f.Submits {
		f.busy.Go(func() {
			f.rest(u.At - time.Since(begun))
			f.submit(n+1, u)
		})
	}
	for _, e := range f.Events {
		f.busy.Go(func() {
			f.rest(e.At - time.Since(begun))
			f.happen(e)
		})
	}
	f.rest(f.Storm - time.Since(begun))
	f.becalm()
}

// settle waits until all submitted tasks have ended and nothing is held.
func (f *Fleet) settle() time.Duration {
	begun := time.Now()
	left := -1
	var held []string
	for ; time.Since(begun) < settleMost; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), settleMost)
		n, err := f.world.Left(ctx)
		took := time.Since(begun)
		if left = n; err == nil && n == 0 {
			held, err = f.world.Held(ctx)
		}
		cancel()
		if err != nil {
			f.t.Fatal(err)
		}
		if left == 0 && len(held) == 0 {
			return took
		}
	}
	f.book.violated("I1", "%d tasks, sets and batches are left %v after the storm", left, settleMost)
	f.book.violated("I9", "%v is held %v after the storm", held, settleMost)
	return time.Since(begun)
}

// end ends all processes at once and checks that they leave nothing behind (I9).
func (f *Fleet) end() {
	var all sync.WaitGroup
	for place := range f.slots {
		p := f.take(place)
		if p == nil {
			f.book.violated("I9", "there is no process in place %d after the storm", place)
			continue
		}
		all.Go(func() {
			code, ended := p.terminate(endMost)
			if !ended {
				p.signal(syscall.SIGQUIT) // it prints its stacks
				<-p.exited
			}
			if code != 0 || !ended {
				f.book.violated("I9", "place %d ended within %v: %v, with code %d: %s", place, endMost, ended, code, p.said)
			}
		})
	}
	all.Wait()
	remains, err := f.world.Remains()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, what := range remains {
		f.book.violated("I9", "%s", what)
	}
}
