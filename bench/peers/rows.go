package main

import (
	"fmt"
	"slices"
)

// Systems that are measured. The first three are afgen's backends.
const (
	memory   = "memory"
	embedded = "embedded"
	servers  = "servers"
	asynq    = "asynq"
	asynq10  = "asynq 10ms" // looks for tasks every 10 ms instead of every second
	river    = "river"
	bare     = "bare"
	netRPC   = "net/rpc"
	gRPC     = "gRPC"
	goList   = "go list"
)

// isAfgen reports whether a system is a backend of afgen.
func isAfgen(system string) bool { return slices.Contains([]string{memory, embedded, servers}, system) }

// A unit is the unit of a figure.
type unit int

const (
	perSecond    unit = iota // more is better; the others: less is better
	microseconds             // printed as µs or ms
	factor                   // a ratio of two figures
	number
)

// A figure is one value of a system's samples.
type figure struct {
	scenario, system string
	metric           string // of the result; "" is the only one
}

// A row is a line of the table.
type row struct {
	name  string
	unit  unit
	worst bool     // the value is the worst of the rounds instead of the median
	afgen figure   // system and scenario
	peers []string // other systems, with the same scenario and metric
	goal  goal
}

// A goal is what a row should reach: a multiple of another system's value, or else a value.
type goal struct {
	of     string  // system, or "before" for afgen's own value at the revision before
	times  float64 // multiple of it
	value  float64
	exists bool
}

// against returns the goal that a value is at least, or at most if less is better, this many times a system's.
func against(system string, times float64) goal { return goal{of: system, times: times, exists: true} }

// absolute returns the goal that a value is at least, or at most if less is better, v.
func absolute(v float64) goal { return goal{value: v, exists: true} }

// text returns the goal in words.
func (r row) goalText() string {
	sign := "≥"
	if r.unit != perSecond {
		sign = "≤"
	}
	switch g := r.goal; {
	case !g.exists:
		return ""
	case g.of != "":
		return fmt.Sprintf("%s %g × %s", sign, g.times, g.of)
	case g.value == 0:
		return "0"
	default:
		return sign + " " + r.unit.format(g.value)
	}
}

// rows are the lines of the table, in order.
var rows = []row{
	{name: "servers: submit, 1 goroutine", afgen: figure{"submit-1", servers, ""},
		peers: []string{bare, asynq, river}, goal: against(bare, 0.9)},
	{name: "servers: submit, 8 goroutines", afgen: figure{"submit-8", servers, ""},
		peers: []string{bare, asynq, river}, goal: against(bare, 1.5)},
	{name: "servers: submit, 64 goroutines", afgen: figure{"submit-64", servers, ""},
		peers: []string{bare, asynq, river}, goal: against(bare, 3)},
	{name: "servers: SubmitMany by 1000", afgen: figure{"submit-many", servers, ""}, peers: []string{bare, river}},
	{name: "servers: drain, 100 at once", afgen: figure{"drain-100", servers, "rate"},
		peers: []string{bare, asynq, river}, goal: against(bare, 0.7)},
	{name: "servers: drain, 10 at once", afgen: figure{"drain-10", servers, "rate"},
		peers: []string{bare, asynq, river}, goal: against("before", 3)},
	{name: "servers: 8 submitters + 100 workers", afgen: figure{"end-to-end", servers, "rate"},
		peers: []string{asynq10, river}, goal: against(river, 1)},
	{name: "servers: idle submit to start, p50", unit: microseconds, afgen: figure{"idle", servers, ""},
		peers: []string{bare, asynq, asynq10, river}, goal: against(bare, 2)},
	{name: "servers: calls, 1 caller", afgen: figure{"call-1", servers, "rate"},
		peers: []string{bare}, goal: against(bare, 0.85)},
	{name: "servers: calls, 64 callers", afgen: figure{"call-64", servers, "rate"},
		peers: []string{bare}, goal: against(bare, 0.9)},
	{name: "servers: calls, 256 callers", afgen: figure{"call-256", servers, "rate"},
		peers: []string{bare}, goal: against(bare, 0.9)},
	{name: "servers: SIGKILL of a worker to running again, worst", unit: microseconds, worst: true,
		afgen: figure{"kill", servers, ""}, goal: absolute(2e6)},
	{name: "servers: task with 10⁵ or 10⁶ stored, to 10³", unit: factor,
		afgen: figure{"growth", servers, "run"}, goal: absolute(1.2)},
	{name: "servers: any page of a list with 10⁵ or 10⁶ stored, to 10³", unit: factor,
		afgen: figure{"growth", servers, "page"}, goal: absolute(1.2)},

	{name: "embedded: submit, 1 goroutine", afgen: figure{"submit-1", embedded, ""},
		peers: []string{asynq, river}, goal: against(asynq, 1)},
	{name: "embedded: submit, 8 goroutines", afgen: figure{"submit-8", embedded, ""}, peers: []string{asynq, river}},
	{name: "embedded: SubmitMany by 1000", afgen: figure{"submit-many", embedded, ""}, peers: []string{river}},
	{name: "embedded: drain, 100 at once", afgen: figure{"drain-100", embedded, "rate"},
		peers: []string{asynq, river}, goal: against(asynq, 3)},
	{name: "embedded: drain, 10 at once", afgen: figure{"drain-10", embedded, "rate"},
		peers: []string{asynq, river}, goal: against(asynq, 1)},
	{name: "embedded: 8 submitters + 100 workers", afgen: figure{"end-to-end", embedded, "rate"},
		peers: []string{asynq10, river}, goal: against(asynq10, 1.5)},
	{name: "embedded: idle submit to start, p50", unit: microseconds, afgen: figure{"idle", embedded, ""},
		peers: []string{asynq, asynq10, river}, goal: absolute(500)},
	{name: "embedded: call in one process, p50", unit: microseconds, afgen: figure{"local-call", embedded, "p50"},
		peers: []string{netRPC, gRPC}},
	{name: "embedded: call between two processes, p50", unit: microseconds,
		afgen: figure{"remote-call", embedded, "p50"}, peers: []string{netRPC, gRPC}, goal: against(netRPC, 1.5)},
	{name: "embedded: task with 10⁵ or 10⁶ stored, to 10³", unit: factor,
		afgen: figure{"growth", embedded, "run"}, goal: absolute(1.2)},
	{name: "embedded: any page of a list with 10⁵ or 10⁶ stored, to 10³", unit: factor,
		afgen: figure{"growth", embedded, "page"}, goal: absolute(1.2)},

	{name: "memory: 8 submitters + 100 workers", afgen: figure{"end-to-end", memory, "rate"}, goal: absolute(300e3)},
	{name: "generate, no change, 1,000 types", unit: microseconds, afgen: figure{"generate", embedded, ""},
		peers: []string{goList}, goal: against(goList, 0.05)},
	{name: "servers: runs without a recorded cause", unit: number, worst: true,
		afgen: figure{"end-to-end", servers, "repeated"}, goal: absolute(0)},
	{name: "embedded: runs without a recorded cause", unit: number, worst: true,
		afgen: figure{"end-to-end", embedded, "repeated"}, goal: absolute(0)},
}

// figures returns the figures that a row shows: afgen's first, then those of the peers.
func (r row) figures() []figure {
	all := []figure{r.afgen}
	for _, p := range r.peers {
		all = append(all, figure{r.afgen.scenario, p, r.afgen.metric})
	}
	return all
}

// once are scenarios that prepare much and compare within one sample, so that one round suffices.
var once = []string{"growth", "generate"}

// A task is one sample to be taken in each round.
type task struct{ scenario, system string }

// plan returns the samples that some rows need, grouped by scenario in the order of the rows.
func plan(rows []row) [][]task {
	var order []string
	groups := map[string][]task{}
	for _, r := range rows {
		for _, f := range r.figures() {
			if groups[f.scenario] == nil {
				order = append(order, f.scenario)
			}
			if t := (task{f.scenario, f.system}); !slices.Contains(groups[f.scenario], t) {
				groups[f.scenario] = append(groups[f.scenario], t)
			}
		}
	}
	var out [][]task
	for _, scenario := range order {
		out = append(out, groups[scenario])
	}
	return out
}
