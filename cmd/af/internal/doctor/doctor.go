// Package doctor checks a system and tells what is wrong with it.
//
// [Examine] reads what the administration API and the embedded file show, once, and then applies every check to it. A
// check is a name, the parts of the system that it looks at, and a function that returns the problems found in them.
// It reads each list once, whatever the number of checks, and changes nothing.
//
// A [Report] has one finding for each problem, and one for each check without any. If a part can't be read, such as the
// instances while Redis is unavailable, the checks that need it are unknown.
package doctor

import (
	"context"
	"fmt"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A System is what is examined.
type System struct {
	API admin.API
	// File is the path of the embedded file, "" if the system has none, or it is not on this machine.
	File string
	// StoreTime returns the time of the store's clock; nil if it is unknown.
	StoreTime func(context.Context) (time.Time, error)
	// MissingIndexes returns the names of the indexes that the store lacks; nil if it is unknown.
	MissingIndexes func(context.Context) ([]string, error)
	// Now returns the time of this machine's clock.
	Now func() time.Time
	// Late is for how long a task may be ready while slots are free.
	Late time.Duration
}

// A Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Problem Verdict = "problem"
	Unknown Verdict = "unknown" // what it looks at can't be read
)

// A Report is the result of all checks. Its JSON is what af doctor -o json prints.
type Report struct {
	Problems int       `json:"problems"` // findings that are problems
	Unknown  int       `json:"unknown"`  // checks that could not be made
	Findings []Finding `json:"findings"` // in the order of the checks; at least one of each
}

// A Finding is what a check has found.
type Finding struct {
	Check   string  `json:"check"` // its name; never changes
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`           // one sentence
	Help    string  `json:"help,omitempty"` // what helps: a command, or a sentence
}

// A check looks at parts of the system.
type check struct {
	name  string
	needs []part
	well  string // the sentence if it finds no problem
	find  func(*facts) []Finding
}

// checks are all checks, in the order of the report. docs/operations.md describes each.
var checks = []check{
	{"health", []part{partOverview}, "what the answering process depends on is up", (*facts).health},
	{"results", []part{partOverview}, "all results are stored", (*facts).unwritten},
	{"instances", []part{partInstances}, "no instance reports a degraded mode", (*facts).degraded},
	{"workers", []part{partQueues}, "every queue with tasks has a worker", (*facts).unserved},
	{"paused", []part{partQueues}, "no queue has been paused or limited to 0 for long", (*facts).paused},
	{"limits", []part{partQueues, partWorkers}, "every worker applies the limit that is set", (*facts).unapplied},
	{"claims", []part{partWorkers}, "every worker claims tasks", (*facts).refusing},
	{"handlers", []part{partWorkers}, "no handler has been abandoned", (*facts).abandoned},
	{"late", []part{partQueues}, "no task waits for long while slots are free", (*facts).late},
	{"versions", []part{partInstances}, "instances with the same services and queues have one version",
		(*facts).versions},
	{"contracts", []part{partServices, partWorkers}, "services and queues have one contract", (*facts).contracts},
	{"jobs", []part{partJobs, partWorkers}, "every job can fire, and its tasks can run", (*facts).jobsStuck},
	{"fires", []part{partFires}, "no due time was skipped in the last hour", (*facts).skipped},
	{"clocks", []part{partNodes, partClock}, "clocks agree", (*facts).clocks},
	{"machines", []part{partNodes}, "disks and memory are not full", (*facts).full},
	{"indexes", []part{partIndexes}, "no index of MongoDB is missing", (*facts).unindexed},
	{"file", []part{partFile}, "the file is private and its disk is not full", (*facts).file},
}

// mostProblems bounds the findings of a check.
const mostProblems = 10

// Examine checks a system. The error is that of ctx.
func Examine(ctx context.Context, s System) (Report, error) {
	f := gather(ctx, s)
	if err := ctx.Err(); err != nil {
		return Report{}, af.Errorf(af.CodeOf(err), "examining the system: %w", context.Cause(ctx))
	}
	r := Report{Findings: []Finding{}}
	for _, c := range checks {
		if c.name == "file" && s.File == "" || c.name == "indexes" && s.MissingIndexes == nil {
			continue
		}
		r.add(c, f)
	}
	return r, nil
}

// add applies a check.
func (r *Report) add(c check, f *facts) {
	for _, p := range c.needs {
		if err := f.failed[p]; err != nil {
			r.Unknown++
			r.Findings = append(r.Findings, Finding{c.name, Unknown, fmt.Sprintf("%s can't be read: %v", p, err), ""})
			return
		}
	}
	found := c.find(f)
	if len(found) == 0 {
		r.Findings = append(r.Findings, Finding{c.name, OK, c.well, ""})
	}
	r.Problems += len(found)
	if n := len(found) - mostProblems; n > 0 {
		found = append(found[:mostProblems:mostProblems], problem("", "%d more of this kind", n))
	}
	for _, p := range found {
		p.Check = c.name
		r.Findings = append(r.Findings, p)
	}
}

// problem returns a finding that is a problem, without its check.
func problem(help, format string, args ...any) Finding {
	return Finding{Verdict: Problem, Text: fmt.Sprintf(format, args...), Help: help}
}
