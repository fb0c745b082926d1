//go:build unix

package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/workload"
)

// A process is a child as seen by its parent.
type process struct {
	place  int
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	ready  chan struct{} // closed when it is ready
	exited chan struct{} // closed when it has exited and all its output was read

	mu       sync.Mutex
	instance string
	since    time.Time // when it became ready
	leaves   time.Time // when it was told to end, or killed
	ended    time.Time
	killed   bool
	stops    []stretch
	answers  map[int]chan report
	code     int
	said     string // why it has failed
}

// A stretch is a period in which a process was stopped, or nothing ran.
type stretch struct{ from, to time.Time }

func (s stretch) overlaps(from, to time.Time) bool { return s.from.Before(to) && from.Before(s.to) }

// A Fleet has all processes of a scenario, at most one in each place.
type Fleet struct {
	Scenario
	t     *testing.T
	world World
	begun time.Time
	calm  chan struct{} // closed when the storm ends
	busy  sync.WaitGroup
	book  *book

	mu        sync.Mutex
	slots     []*process
	all       []*process
	disturbed []stretch // periods of faults of the world
	commands  int       // number of Submits and Stops
	starved   func() []stretch
}

func newFleet(t *testing.T, s Scenario, world World) *Fleet {
	f := &Fleet{
		Scenario: s, t: t, world: world, begun: time.Now(), calm: make(chan struct{}), slots: make([]*process, s.places()),
		book: newBook(),
	}
	t.Cleanup(func() {
		for _, p := range f.processes() {
			p.signal(syscall.SIGKILL)
			<-p.exited
		}
	})
	return f
}

func (f *Fleet) processes() []*process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*process(nil), f.all...)
}

// spawn starts a process in a place without waiting until it is ready.
func (f *Fleet) spawn(place int) *process {
	p := &process{
		place: place, cmd: exec.Command(os.Args[0]), ready: make(chan struct{}), exited: make(chan struct{}),
		answers: map[int]chan report{},
	}
	p.cmd.Env = append(os.Environ(), "AF_TEST_CHILD=chaos")
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		panic(err)
	}
	a := assignment{Address: f.world.Address(), Drain: f.Drain, Lease: f.Lease}
	if place < len(f.Workers) {
		a.Works = f.Workers[place]
	}
	p.send(a)
	f.mu.Lock()
	f.all = append(f.all, p)
	f.mu.Unlock()
	go f.listen(p, stdout)
	return p
}

// boot fills a place. A process may fail to start while others are stopped in the middle of an operation, or while
// the shared world is unavailable; then boot starts it again, as a supervisor does.
func (f *Fleet) boot(place int) {
	var why string
	begun := time.Now()
	for try := 0; try < 4 || len(f.world.Faults()) > 0 && time.Since(begun) < settleMost; try++ {
		p := f.spawn(place)
		select {
		case <-p.ready:
			f.mu.Lock()
			f.slots[place] = p
			f.mu.Unlock()
			return
		case <-p.exited:
		}
		why = fmt.Sprintf("exit code %d: %s", p.code, p.lastWords())
		f.book.note("place %d: %s", place, why)
		if try >= 4 {
			time.Sleep(250 * time.Millisecond)
		}
	}
	f.book.violated("start", "no process has started in place %d: %s", place, why)
}

// lastWords returns the end of the error output of a process that has exited.
func (p *process) lastWords() string {
	all := p.stderr.String()
	return all[max(0, len(all)-300):]
}

// listen reads a process's reports until it exits.
func (f *Fleet) listen(p *process, stdout io.Reader) {
	d := json.NewDecoder(stdout)
	for {
		var r report
		if err := d.Decode(&r); err != nil {
			break
		}
		f.heard(p, r)
	}
	_ = p.cmd.Wait()
	p.mu.Lock()
	p.code, p.ended = p.cmd.ProcessState.ExitCode(), time.Now()
	if p.leaves.IsZero() {
		p.leaves = time.Now()
	}
	p.mu.Unlock()
	close(p.exited)
}

func (f *Fleet) heard(p *process, r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Kind {
	case "instance":
		p.instance = r.ID
	case "ready":
		p.since = time.Now()
		close(p.ready)
	case "answer":
		p.answers[r.N] <- r
	case "ended":
		p.said = r.Text
		f.book.note("shutdown in place %d: %s", p.place, r.Text)
	default:
		f.book.heard(r, p.place)
	}
}

// send writes a line to a process, which may have exited.
func (p *process) send(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = p.stdin.Write(append(line, '\n'))
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill kills a process.
func (p *process) kill() {
	p.mu.Lock()
	p.killed, p.leaves = true, time.Now()
	p.mu.Unlock()
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// terminate terminates a process gracefully and returns its exit code.
func (p *process) terminate(within time.Duration) (code int, ended bool) {
	p.mu.Lock()
	p.leaves = time.Now()
	p.mu.Unlock()
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.exited:
		return p.code, true
	case <-timer.C:
		return 0, false
	}
}

// freeze stops a process for a while.
func (p *process) freeze(d time.Duration) {
	begun := time.Now()
	p.signal(syscall.SIGSTOP)
	time.Sleep(d)
	p.signal(syscall.SIGCONT)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stops = append(p.stops, stretch{begun, time.Now()})
}

// ask sends a command to a process. answered reports whether it replied before it exited.
func (p *process) ask(c command) (r report, answered bool) {
	ch := make(chan report, 1)
	p.mu.Lock()
	p.answers[c.N] = ch
	p.mu.Unlock()
	p.send(c)
	select {
	case r = <-ch:
		return r, true
	case <-p.exited:
	}
	select { // the reply may have been its last output
	case r = <-ch:
		return r, true
	default:
		return r, false
	}
}

func (f *Fleet) at(place int) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slots[place]
}

// take empties a place.
func (f *Fleet) take(place int) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.slots[place]
	f.slots[place] = nil
	return p
}

// rest waits for d, or until the storm is over.
func (f *Fleet) rest(d time.Duration) { workload.Rest(d, f.calm) }

// happen makes one Event happen and returns when it is over.
func (f *Fleet) happen(e Event) {
	switch e.What {
	case "kill", "kill some", "kill all":
		var gone sync.WaitGroup
		for _, place := range e.Places {
			if p := f.take(place); p != nil {
				gone.Go(func() {
					p.kill()
					f.rest(e.For)
					f.boot(p.place)
				})
			}
		}
		gone.Wait()
	case "abort": // one more process, which may not become ready
		p := f.spawn(e.Places[0])
		f.rest(e.For)
		p.kill()
	case "stop", "stop long": // runs to its end, even after the storm
		if p := f.at(e.Places[0]); p != nil {
			p.freeze(e.For)
		}
	case "restart", "roll":
		for _, place := range e.Places {
			f.restart(place)
		}
	default:
		f.disturb(e, f.calm)
	}
}

// disturb causes a fault of the world, until calm is closed at the latest.
func (f *Fleet) disturb(e Event, calm <-chan struct{}) {
	begun := time.Now()
	if err := f.world.Happen(e.What, e.For, calm); err != nil {
		f.book.violated("fault", "%s: %v", e.What, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disturbed = append(f.disturbed, stretch{begun, time.Now()})
	f.book.note("%s from %s to %s", e.What, f.since(begun), f.since(time.Now()))
}

func (f *Fleet) restart(place int) {
	p := f.take(place)
	if p == nil {
		return
	}
	within := f.Drain + 30*time.Second // it may wait for a stopped process
	switch code, ended := p.terminate(within); {
	case !ended:
		f.book.violated("shutdown", "place %d has not ended %v after SIGTERM", place, within)
		p.kill()
	case code == exitUnwritten && len(f.world.Faults()) > 0: // servers are as slow as the machine
	case code != 0 && code != exitCutOff && (f.Kind == Rolling || code != exitBroken && code != exitUnwritten):
		f.book.violated("shutdown", "place %d ended with code %d after SIGTERM", place, code)
	}
	f.boot(place)
}

// submit makes one call, and repeats it if the task's id makes that safe.
func (f *Fleet) submit(n int, u Submit) {
	c := command{N: n, Submit: u}
	if u.How == "subtasks" || u.How == "stop" {
		if c.Target = f.book.acks.Pick(u.Pick); c.Target == "" {
			return
		}
	}
	if u.How == "stop" {
		f.book.stops(c.Target)
	}
	for range 5 {
		p := f.at(u.Place)
		for place := 0; p == nil && place < len(f.slots); place++ {
			p = f.at(place)
		}
		if p == nil {
			f.rest(100 * time.Millisecond)
			continue
		}
		r, answered := p.ask(c)
		if answered && r.Code == "" {
			f.book.acks.Add(r.IDs...)
			return
		}
		f.book.note("%s %s: answered %v: %s", u.How, c.Target, answered, r.Text)
		if u.ID == "" {
			return
		}
	}
}
