//go:build unix

package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/workload"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// An Order is a payload: what its handler does. It determines how the task ends.
type Order struct {
	Ticket int           `json:"ticket"`       // contained in the result
	Do     string        `json:"do,omitempty"` // fail, panic, permanent, snooze, hang until its timeout
	N      int           `json:"n,omitempty"`  // how often, if Do happens only some times
	For    time.Duration `json:"for,omitempty"`
	Kids   []Family      `json:"kids,omitempty"`
}

// A Family is one call to Subtasks.
type Family struct {
	Queue  int              `json:"queue"`
	Orders []Order          `json:"orders"`
	Now    bool             `json:"now,omitempty"`
	Policy af.FailurePolicy `json:"policy,omitempty"`
	Batch  string           `json:"batch,omitempty"`
}

// workers are the queues. Scenarios use the first three, of which the third has no SubtasksDone. The last is for many
// concurrent tasks.
var workers = []af.Worker{
	{Name: "a", Type: "Alpha", Max: 6, Retries: 2, Backoff: 50 * time.Millisecond, Weight: 1, Payload: "order"},
	{Name: "b", Type: "Beta", Max: 4, Retries: 1, Backoff: 100 * time.Millisecond, Weight: 2, Payload: "order"},
	{Name: "c", Type: "Gamma", Max: 3, Backoff: 200 * time.Millisecond, Weight: 1, Payload: "order"},
	{Name: "d", Type: "Delta", Max: 64, Backoff: time.Second, Weight: 1, Payload: "order"},
}

const drawn = 3 // of the workers used by scenarios

// Bulk is the queue for many concurrent tasks.
const Bulk = 3

// A Kind is the kind of a Scenario.
type Kind int

// Kinds of scenarios.
const (
	Everything Kind = iota
	Kills           // processes are killed, and nothing else: their tasks must soon run again
	Rolling         // graceful restarts: no attempt and no crash may be charged
)

func (k Kind) String() string { return [...]string{"everything", "kills", "rolling"}[k] }

// A Scenario is the plan of one test, generated from a seed and a kind, or written by a test.
type Scenario struct {
	Seed    uint64
	Kind    Kind
	Workers [][]int // the queues of each process: 0, 1, 2, and Bulk
	Clients int     // processes without workers
	Drain   time.Duration
	Lease   time.Duration
	Storm   time.Duration
	Submits []Submit
	Events  []Event
}

// A Submit is one call of a process with its result.
type Submit struct {
	At     time.Duration `json:",omitzero"`
	Place  int           `json:",omitzero"`
	Queue  int           `json:",omitzero"`
	How    string        `json:",omitzero"` // submit, store, many, subtasks, stop
	Orders []Order       `json:",omitzero"`
	workload.Submission
	Pick   int    `json:",omitzero"` // the source of subtasks, or the task to stop
	Family Family `json:",omitzero"`
}

// An Event happens to processes or to the world that they share.
type Event struct {
	At     time.Duration
	What   string // kill, kill some, kill all, abort, stop, stop long, restart, roll; or one of World.Faults
	Places []int
	For    time.Duration
}

// A draw makes random choices.
type draw struct {
	workload.Draw
	kind    Kind
	tickets int
}

// NewScenario draws a scenario with the given faults of the world.
func NewScenario(kind Kind, seed uint64, storm time.Duration, faults []string) Scenario {
	d := &draw{Draw: workload.NewDraw(seed, uint64(kind)), kind: kind}
	s := Scenario{
		Seed: seed, Kind: kind, Clients: 1 + d.IntN(2), Storm: storm, Lease: shortLease,
		Drain: d.Span(100*time.Millisecond, 2*time.Second), Workers: [][]int{{0, 1, 2}, {0, 1, 2}},
	}
	for range d.IntN(3) {
		two := [][]int{{0, 1}, {1, 2}, {0, 2}, {0, 1, 2}}
		s.Workers = append(s.Workers, two[d.IntN(len(two))])
	}
	rate := 6 + d.IntN(10)
	if kind == Kills {
		rate = 3 + d.IntN(3)       // so that interrupted tasks find a free slot
		s.Lease = 10 * time.Second // so long that no process waits for its expiry
	}
	for range int(storm/time.Second) * rate {
		s.Submits = append(s.Submits, d.submit(&s))
	}
	d.events(&s)
	if kind == Everything {
		d.faults(&s, faults)
	}
	return s
}

// places returns the number of processes; those with workers come first.
func (s *Scenario) places() int { return len(s.Workers) + s.Clients }

// order draws a task with at most deep generations of subtasks.
func (d *draw) order(deep int) Order {
	d.tickets++
	o := Order{Ticket: d.tickets, For: d.Span(0, 300*time.Millisecond)}
	if d.Chance(0.15) {
		o.For = d.Span(500*time.Millisecond, 2500*time.Millisecond)
	}
	if d.Chance(0.4) {
		o.Do = []string{"fail", "permanent", "snooze", "panic", "fail"}[d.IntN(5)]
		if o.Do == "snooze" || d.Chance(0.6) {
			o.N = 1 + d.IntN(2)
		}
	}
	for deep > 0 && len(o.Kids) < 2 && d.Chance(0.3) {
		o.Kids = append(o.Kids, d.family(deep-1))
	}
	return o
}

// nowMark ends the key of an external batch that need not wait for its source.
const nowMark = "-now"

func (d *draw) family(deep int) Family {
	f := Family{Queue: d.IntN(drawn), Now: d.Chance(0.4)}
	f.Policy = []af.FailurePolicy{"", af.IgnoreFailures, af.FailFast, af.CollectFailures}[d.IntN(4)]
	for range d.IntN(4) {
		f.Orders = append(f.Orders, d.order(deep))
	}
	// A key identifies one content: under the same key, more subtasks than before are a further commit.
	f.Batch = fmt.Sprintf("b%d-%d", d.IntN(3), len(f.Orders))
	if f.Now {
		f.Batch += nowMark
	}
	return f
}

func (d *draw) submit(s *Scenario) Submit {
	u := Submit{
		At: d.Span(0, s.Storm*9/10), Place: len(s.Workers) +
			d.IntN(s.Clients), Queue: d.IntN(drawn), Submission: workload.Submission{Weight: d.IntN(4)},
		How:  []string{"submit", "submit", "store", "many", "many", "subtasks", "stop"}[d.IntN(7)],
		Pick: d.IntN(1 << 20), Family: d.family(1),
	}
	if d.Chance(0.1) {
		u.Place = d.IntN(len(s.Workers))
	}
	n := 1
	if u.How == "many" {
		n = d.IntN(8)
	}
	if u.How != "subtasks" && u.How != "stop" {
		u.Family = Family{}
		for range n {
			u.Orders = append(u.Orders, d.order(2))
		}
	}
	if (u.How == "submit" || u.How == "store") && d.Chance(0.05) {
		u.Orders = []Order{{Ticket: u.Orders[0].Ticket, Do: "hang"}}
	}
	if n == 1 && d.Chance(0.4) {
		u.ID = fmt.Sprintf("t%d", d.IntN(20))
	}
	if n == 1 && d.Chance(0.3) {
		u.Key = fmt.Sprintf("k%d", d.IntN(3))
	}
	if d.Chance(0.2) {
		u.RunIn = d.Span(0, 3*time.Second)
	}
	if d.Chance(0.15) {
		u.Deadline = d.Span(0, 3*time.Second)
	}
	return u
}

// events draws what happens to the processes.
func (d *draw) events(s *Scenario) {
	if s.Kind == Rolling {
		for at := d.Span(500*time.Millisecond, time.Second); at < s.Storm; at += d.Span(time.Second, 3*time.Second) {
			s.Events = append(s.Events, Event{At: at, What: "roll", Places: d.Perm(s.places())})
		}
		return
	}
	whats := []string{"kill", "kill", "kill", "kill some", "kill all", "abort"}
	if s.Kind == Everything {
		whats = append(whats, "stop long", "stop long", "stop", "stop", "restart", "restart", "roll")
	}
	for at := d.Span(300*time.Millisecond, time.Second); at < s.Storm; at += d.Span(300*time.Millisecond, 2*time.Second) {
		s.Events = append(s.Events, d.event(s, at, whats[d.IntN(len(whats))]))
	}
	if s.Kind == Everything { // at least one, early enough to outlast a lease
		s.Events = append(s.Events, d.event(s, d.Span(300*time.Millisecond, s.Storm/3), "stop long"))
	}
	slices.SortStableFunc(s.Events, func(a, b Event) int { return int(a.At - b.At) })
}

// faults draws faults of the shared world: one after the other, sometimes two at once.
func (d *draw) faults(s *Scenario, whats []string) {
	if len(whats) == 0 {
		return
	}
	for at := d.Span(500*time.Millisecond, 2*time.Second); at < s.Storm; {
		e := Event{At: at, What: whats[d.IntN(len(whats))], For: d.Span(200*time.Millisecond, 6*time.Second)}
		s.Events = append(s.Events, e)
		if at += d.Span(time.Second, 4*time.Second); !d.Chance(0.2) {
			at += e.For
		}
	}
}

func (d *draw) event(s *Scenario, at time.Duration, what string) Event {
	e := Event{At: at, What: what, Places: []int{d.IntN(s.places())}}
	if what == "stop long" || strings.HasPrefix(what, "kill") {
		d.ballast(s, at-200*time.Millisecond)
	}
	switch what {
	case "kill some":
		e.Places = d.Perm(s.places())[:2]
	case "kill all", "roll":
		e.Places = d.Perm(s.places())
	case "stop long": // longer than the lease
		e.Places, e.For = []int{d.IntN(len(s.Workers))}, d.Span(5*time.Second, 7*time.Second)
	case "stop":
		e.For = d.Span(10*time.Millisecond, time.Second)
	case "kill":
		e.Places, e.For = []int{d.IntN(len(s.Workers))}, d.Span(0, time.Second)
		if d.Chance(0.2) {
			e.Places = []int{len(s.Workers) + d.IntN(s.Clients)}
		}
	case "abort":
		e.For = d.Span(0, 500*time.Millisecond)
	}
	return e
}

// ballast are tasks that run in every process when an event happens to it, and until other processes have taken them
// over.
func (d *draw) ballast(s *Scenario, at time.Duration) {
	u := Submit{At: at, Place: len(s.Workers), How: "many", Queue: d.IntN(2)}
	for range 2 * len(s.Workers) {
		d.tickets++
		u.Orders = append(u.Orders, Order{Ticket: d.tickets, For: d.Span(time.Second, 3*time.Second)})
	}
	s.Submits = append(s.Submits, u)
}

func (s *Scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %d: %v, workers %v, %d clients, drain %v, storm %v, %d submits\n", s.Seed, s.Kind,
		s.Workers, s.Clients,
		s.Drain, s.Storm, len(s.Submits))
	for _, e := range s.Events {
		text, _ := json.Marshal(e)
		fmt.Fprintf(&b, "  %s\n", text)
	}
	return b.String()
}

// An ending is how a task ends according to its order, if it is not stopped and no deadline passes.
type ending struct {
	status  af.Status
	attempt int
}

// ends returns how the task of an order ends in a queue, whatever happens to processes: crashes, snoozes and
// shutdowns are not charged.
func (o Order) ends(w af.Worker) ending {
	last := w.Retries + 1
	switch {
	case o.Do == "permanent":
		return ending{af.StatusFailed, 1}
	case o.Do == "hang", (o.Do == "fail" || o.Do == "panic") && (o.N == 0 || o.N >= last):
		return ending{af.StatusFailed, last}
	case o.Do == "fail" || o.Do == "panic":
		return ending{af.StatusSuccess, o.N + 1}
	}
	return ending{af.StatusSuccess, 1}
}

// RunsNow reports whether a batch was ordered to run before its source has succeeded. The key tells for an external
// batch, and the source's order for the nth batch of a handler.
func RunsNow(source backend.Task, batch string) bool {
	n, err := strconv.Atoi(batch)
	if err != nil {
		return strings.HasSuffix(batch, nowMark)
	}
	kids := orderOf(source).Kids
	return n >= 1 && n <= len(kids) && kids[n-1].Now
}

func orderOf(t backend.Task) (o Order) {
	if err := json.Unmarshal(t.Payload, &o); err != nil {
		panic(err)
	}
	return o
}
