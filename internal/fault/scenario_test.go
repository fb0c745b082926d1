package fault_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/workload"
	af "github.com/afgen/afgen/runtime"
)

// A kind is the kind of a scenario.
type kind int

const (
	everything kind = iota // all faults at once
	outages                // the store is unavailable at times; no owner may expire
	rolling                // graceful restarts; no attempt may be charged
	messages               // hints and events are lost, repeated, late
	quiet                  // no faults
	poisoned               // a task or two kill their processes; no other may fail for it
)

func (k kind) String() string {
	return [...]string{"everything", "outages", "rolling", "messages", "quiet", "poisoned"}[k]
}

// A scenario is the plan of one simulation, generated from a seed.
type scenario struct {
	Seed    uint64
	Kind    kind
	IDs     bool // hints carry ids
	Grouped bool // concurrent inserts of a process share a request
	Mixed   bool // every other process has workers of another version
	Workers int  // processes with workers
	Clients int  // processes without workers
	Plan    fault.Plan
	Submits []submit
	Events  []event
	Jobs    []job
	Keep    time.Duration // retention; 0 keeps everything
	Storm   time.Duration
}

// A submit is one call of a client.
type submit struct {
	At     time.Duration `json:",omitzero"`
	Place  int           `json:",omitzero"`
	Queue  int           `json:",omitzero"`
	How    string        `json:",omitzero"` // submit, store, many, subtasks, gone
	Orders []order       `json:",omitzero"`
	workload.Submission
	Pick   int    `json:",omitzero"` // the source of subtasks
	Family family `json:",omitzero"`
}

// An event happens to the fleet.
type event struct {
	At    time.Duration   `json:",omitzero"`
	What  string          `json:",omitzero"` // crash, freeze, restart, cut, disconnect, stop, pause, resize, outage, die firing
	Place int             `json:",omitzero"`
	For   time.Duration   `json:",omitzero"`
	Dir   fault.Direction `json:",omitzero"`
	Hang  bool            `json:",omitzero"`
	Pick  int             `json:",omitzero"`
	Op    string          `json:",omitzero"` // at which processes die
}

// A draw makes random choices.
type draw struct{ workload.Draw }

func (d draw) rate(most float64) float64 {
	if d.Chance(0.4) {
		return 0
	}
	return most * d.Float64()
}

func newScenario(seed uint64) scenario {
	d := draw{workload.NewDraw(seed, 1)}
	s := scenario{
		Seed: seed, IDs: d.Chance(0.4), Workers: 2 + d.IntN(4), Clients: 1 +
			d.IntN(2), Storm: d.Span(20*time.Second, 45*time.Second),
	}
	s.Mixed = d.Chance(0.3)
	s.Grouped = seed%2 == 0
	switch n := d.IntN(22); {
	case n >= 20:
		s.Kind = poisoned
	case n < 12:
		s.Kind = everything
	case n < 15:
		s.Kind = outages
	case n < 18:
		s.Kind = rolling
	case n < 19:
		s.Kind = messages
	default:
		s.Kind = quiet
	}
	if s.Kind == everything || s.Kind == messages {
		s.Plan.LoseHint, s.Plan.RepeatHint, s.Plan.ShuffleHint = d.rate(0.5), d.rate(0.3), d.rate(0.5)
	}
	if s.Kind == everything {
		s.Plan.Refuse, s.Plan.LoseReply, s.Plan.Repeat = d.rate(0.1), d.rate(0.15), d.rate(0.1)
		s.Plan.Delay, s.Plan.MostDelay = d.rate(0.15), d.Span(10*time.Millisecond, 12*time.Second)
	}
	if s.Kind == rolling && d.Chance(0.5) {
		// No repeats: a claim that arrives again after its process has released everything is a crash that no process can
		// know of.
		s.Plan = fault.Plan{LoseReply: 0.05, Delay: 0.3, MostDelay: time.Second}
	}
	for range 3 + d.IntN(14) {
		s.Submits = append(s.Submits, d.submit(&s))
	}
	if d.Chance(0.03) { // a batch of several inserts
		u := submit{At: s.Storm / 2, How: "subtasks", Pick: d.IntN(1000), Place: d.IntN(s.Workers + s.Clients)}
		u.Family = family{Queue: d.IntN(2), Orders: make([]order, 1001+d.IntN(1500)), Now: d.Chance(0.4)}
		s.Submits = append(s.Submits, u)
	}
	if s.Kind == poisoned {
		for range 1 + d.IntN(2) {
			at, work := d.Span(0, s.Storm/2), d.Span(0, 4*time.Second)
			s.Submits = append(s.Submits,
				submit{At: at, Place: s.Workers, Queue: d.IntN(len(workers)), How: "submit",
					Orders: []order{{Do: "kill", For: work}}})
		}
	}
	d.events(&s)
	s.more()
	s.crowds()
	return s
}

// order draws a task with at most deep generations of subtasks.
func (d draw) order(s *scenario, deep int) order {
	o := order{For: d.Span(0, 3*time.Second)}
	if d.Chance(0.3) {
		o.For = 0
	}
	if s.Kind != rolling && d.Chance(0.1) {
		o.For = d.Span(5*time.Second, 25*time.Second)
	}
	if s.Kind != rolling && s.Kind != poisoned && d.Chance(0.4) {
		o.Do = []string{"fail", "permanent", "snooze", "panic", "goexit", "ignore", "fail"}[d.IntN(7)]
		if o.Do == "snooze" || o.Do == "fail" && d.Chance(0.7) {
			o.N = 1 + d.IntN(3)
		}
	}
	for deep > 0 && len(o.Kids) < 3 && d.Chance(0.35) {
		o.Kids = append(o.Kids, d.family(s, deep-1))
	}
	return o
}

func (d draw) family(s *scenario, deep int) family {
	f := family{Queue: d.IntN(len(workers)), Now: d.Chance(0.4)}
	f.Policy = []af.FailurePolicy{"", af.IgnoreFailures, af.FailFast, af.CollectFailures}[d.IntN(4)]
	for range d.IntN(4) {
		f.Orders = append(f.Orders, d.order(s, deep))
	}
	return f
}

func (d draw) submit(s *scenario) submit {
	u := submit{
		At: d.Span(0, s.Storm*8/10), Place: d.IntN(s.Workers +
			s.Clients), Queue: d.IntN(len(workers)), Submission: workload.Submission{Weight: d.IntN(5)},
		How: []string{"submit", "store", "many", "subtasks"}[d.IntN(4)], Pick: d.IntN(1000), Family: d.family(s, 1),
	}
	n := 1
	if u.How == "many" {
		n = d.IntN(6)
	}
	for range n {
		u.Orders = append(u.Orders, d.order(s, 2))
	}
	if n == 1 && d.Chance(0.4) {
		u.ID = fmt.Sprintf("t%d", d.IntN(8))
	}
	if n == 1 && d.Chance(0.3) {
		u.Key = fmt.Sprintf("k%d", d.IntN(3))
	}
	if d.Chance(0.25) {
		u.RunIn = d.Span(0, 30*time.Second)
	}
	if s.Kind != rolling && d.Chance(0.15) {
		u.Deadline = d.Span(0, 30*time.Second)
	}
	if d.Chance(0.3) {
		u.Family.Batch = fmt.Sprintf("b%d", d.IntN(3))
	}
	return u
}

// events draws what happens to the fleet.
func (d draw) events(s *scenario) {
	var whats []string
	switch s.Kind {
	case everything:
		whats = []string{"crash", "crash", "freeze", "freeze", "restart", "restart", "cut", "cut", "disconnect", "stop",
			"stop", "pause", "resize", "outage"}
	case outages:
		whats = []string{"outage"}
	case rolling:
		whats = []string{"restart"}
	case poisoned:
		whats = []string{"pause", "resize"}
	default:
		whats = []string{"stop", "pause", "resize"}
	}
	for range 1 + d.IntN(10) {
		e := event{
			At: d.Span(0, s.Storm), What: whats[d.IntN(len(whats))], Place: d.IntN(s.Workers + s.Clients), Pick: d.IntN(1000),
			For: d.Span(0, 4*time.Second), Dir: fault.Direction(1 + d.IntN(3)), Hang: d.Chance(0.5),
		}
		if d.Chance(0.4) && e.What != "restart" {
			e.For = d.Span(5*time.Second, 25*time.Second)
		}
		if e.What == "stop" && d.Chance(0.3) { // a storm of them
			for range 8 {
				again := e
				again.Pick = d.IntN(1000)
				s.Events = append(s.Events, again)
			}
		}
		s.Events = append(s.Events, e)
	}
	slices.SortStableFunc(s.Events, func(a, b event) int { return int(a.At - b.At) })
}

// calmEnough reports whether no event may make a task run again: results survive an outage shorter than the lease.
func (s scenario) calmEnough() bool {
	var from, until time.Duration // of outages without much of a pause between them
	for _, e := range s.Events {
		if e.What != "outage" {
			continue
		}
		if e.At > until+3*time.Second {
			from = e.At
		}
		if until = max(until, e.At+e.For); until-from > 4*time.Second {
			return false
		}
	}
	return s.Kind == outages || s.Kind == messages || s.Kind == quiet
}

func (s scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %d: %v, hints with ids %v, grouped inserts %v, %d workers, %d clients, storm %v, keeps %v, "+
		"plan %+v\n", s.Seed, s.Kind, s.IDs, s.Grouped,
		s.Workers, s.Clients, s.Storm, s.Keep, s.Plan)
	for _, u := range s.Submits {
		line(&b, u)
	}
	for _, e := range s.Events {
		line(&b, e)
	}
	for _, j := range s.Jobs {
		line(&b, j)
	}
	return b.String()
}

func line(b *strings.Builder, v any) {
	text, _ := json.Marshal(v)
	fmt.Fprintf(b, "  %s\n", text)
}
