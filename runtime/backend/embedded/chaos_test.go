//go:build unix

package embedded_test

import (
	"database/sql"
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
)

var (
	chaosFor  = flag.Duration("chaos", 0, "go on with scenarios of chaos for so long")
	chaosSeed = flag.Uint64("chaos-seed", 0, "the first scenario of chaos; 0 is 1, or with -chaos one by chance")
	chaosOnly = flag.String("chaos-kind", "", "scenarios of chaos of this kind only")
)

const (
	shortStorm = 5 * time.Second
	longStorm  = 12 * time.Second
	settleMost = 90 * time.Second // after a storm; liveness, not speed
	endMost    = 30 * time.Second // from SIGTERM to the end of all
)

// Invariants I1 to I5 and I7 to I9 hold for processes that share a file: they are killed, stopped beyond their leases and
// restarted, each seed in its own way, and afterwards an audit that the file itself has kept is checked.
func TestChaosOfProcessesKeepsThePromises(t *testing.T) {
	kinds := []chaosKind{everything, kills, rolling}
	kinds = slices.DeleteFunc(kinds, func(k chaosKind) bool { return *chaosOnly != "" && *chaosOnly != k.String() })
	var all tally
	defer func() { t.Log(all.String()) }()
	if *chaosFor == 0 {
		var done sync.WaitGroup
		for _, kind := range kinds { // side by side, for they mostly wait
			done.Go(func() {
				t.Run(kind.String(), func(t *testing.T) { chaos(t, newScenario(kind, max(*chaosSeed, 1), shortStorm), &all) })
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
		chaos(t, newScenario(kinds[seed%uint64(len(kinds))], seed, longStorm), &all)
	}
}

// A tally is what has happened in all scenarios: one in which nothing happens proves nothing.
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
	n.acks += len(tr.fleet.book.acks)
	for _, e := range tr.log.Entries {
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
	return fmt.Sprintf("%d scenarios, %d processes, %d acknowledged tasks; changes by row of the state table %v; settled after a storm %s; "+
		"killed to running again %s, those included that nobody was free to run %s; claims of an owner not yet settled, at most %v",
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

// chaos runs one scenario.
func chaos(t *testing.T, s scenario, all *tally) {
	t.Helper()
	folder, err := os.MkdirTemp("", "af-chaos") // a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, s, filepath.Join(folder, "af.db"))
	starved := watchHunger()
	f.storm()
	settled := f.settle()
	f.end()
	hunger := starved()
	broken := f.book.broken
	a, err := readAudit(f.path, f.begun)
	if err != nil {
		t.Fatalf("%v: %v", broken, err)
	}
	tr := newTrial(a, f, hunger)
	tr.judge()
	all.count(tr, settled)
	if len(tr.broken) == 0 {
		_ = os.RemoveAll(folder)
		return
	}
	t.Errorf("go test ./runtime/backend/embedded -run Chaos -chaos-kind %v -chaos-seed %d (what happens at which moment is not seeded)\n"+
		"%d broken promises; the whole log and what each process has logged stand in %s\n%s%ssettled after %v", s.Kind, s.Seed,
		len(tr.broken), folder, tr.report(folder), s.String(), settled)
}

// report writes down all there is, in a folder, and returns what concerns the broken promises.
func (t *trial) report(folder string) string {
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
		text.WriteString(t.log.String(ids...))
	}
	for _, p := range t.fleet.processes() {
		fmt.Fprintf(&text, "place %d, %.6s: ready %s, left %s, killed %v, code %d, stopped", p.place, p.instance, t.fleet.since(p.since),
			t.fleet.since(p.leaves), p.killed, p.code)
		for _, s := range p.stops {
			fmt.Fprintf(&text, " %s to %s", t.fleet.since(s.from), t.fleet.since(s.to))
		}
		text.WriteString("\n")
		_ = os.WriteFile(filepath.Join(folder, "stderr-"+p.instance), p.stderr.Bytes(), 0o600)
	}
	for _, s := range t.starved {
		fmt.Fprintf(&text, "starved from %s to %s\n", t.fleet.since(s.from), t.fleet.since(s.to))
	}
	all := t.log.String() + strings.Join(t.fleet.book.notes, "\n")
	_ = os.WriteFile(filepath.Join(folder, "log"), []byte(all), 0o600)
	return text.String()
}

func (f *fleet) since(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.3fs", at.Sub(f.begun).Seconds())
}

// watchHunger notes when this process doesn't get to run; what it returns ends that.
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
	return func() []stretch {
		close(stop)
		return <-done
	}
}

// storm lets the scenario happen and returns when it is over, and there is a process in every place.
func (f *fleet) storm() {
	var booted sync.WaitGroup
	for place := range f.slots {
		booted.Go(func() { f.boot(place) })
	}
	booted.Wait()
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
	close(f.calm)
	f.busy.Wait()
}

// settle waits until all that was submitted has ended.
func (f *fleet) settle() time.Duration {
	begun := time.Now()
	db, err := sql.Open("sqlite", "file:"+f.path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	left := -1
	for ; time.Since(begun) < settleMost; time.Sleep(50 * time.Millisecond) {
		err := db.QueryRow(`SELECT (SELECT count(*) FROM task WHERE status < 4) + (SELECT count(*) FROM family WHERE NOT finished) +
			(SELECT count(*) FROM batch WHERE held)`).Scan(&left)
		if err != nil {
			f.t.Fatal(err)
		}
		if left == 0 {
			return time.Since(begun)
		}
	}
	f.book.violated("I1", "%d tasks, sets and batches are left %v after the storm", left, settleMost)
	return time.Since(begun)
}

// end ends all processes at once; nothing is left of them (I9).
func (f *fleet) end() {
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
				p.signal(syscall.SIGQUIT) // it says what it is doing
				<-p.exited
			}
			if code != 0 || !ended {
				f.book.violated("I9", "place %d ended within %v: %v, with code %d", place, endMost, ended, code)
			}
		})
	}
	all.Wait()
	f.nothingLeft()
}

func (f *fleet) nothingLeft() {
	left, err := os.ReadDir(filepath.Dir(f.path))
	more, err2 := os.ReadDir(f.path + "-run")
	if err != nil || err2 != nil {
		f.book.violated("I9", "%v, %v", err, err2)
	}
	for _, file := range append(left, more...) {
		switch file.Name() {
		case "af.db", "af.db-run", "open.lock", "turn.lock":
		default:
			f.book.violated("I9", "the file %s is left", file.Name())
		}
	}
	db, err := sql.Open("sqlite", "file:"+f.path+"?_pragma=query_only(1)")
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	for what, query := range map[string]string{
		"peers": "SELECT count(*) FROM peer", "offers": "SELECT count(*) FROM offer", "running tasks": "SELECT count(*) FROM task WHERE status = 2",
		"owners": "SELECT count(*) FROM owner WHERE NOT convicted",
	} {
		var n int
		if err := db.QueryRow(query).Scan(&n); err != nil || n > 0 {
			f.book.violated("I9", "%d %s are left: %v", n, what, err)
		}
	}
}
