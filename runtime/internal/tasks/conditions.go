package tasks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// modeUnwritten is what an App with workers is in that has results which the store doesn't take.
var modeUnwritten = backend.Condition{
	Name: "results", Mode: "results-unwritten", Stops: []backend.Stopped{backend.StopsTasks},
	Works: "calls; tasks, whose results are kept and written again",
	Lost:  "results that were not written when this process ends: their tasks run again",
}

// modeUnclaimable is what an App with workers is in to which the store refuses tasks.
var modeUnclaimable = backend.Condition{
	Name: "claims", Mode: "claims-refused", Stops: []backend.Stopped{backend.StopsTasks},
	Works: "calls; submitting; tasks of other queues, and those that are claimed by a hint", Lost: "tasks of a queue are found late, or not begun",
}

// modeSlotsLost is what an App with workers is in while handlers that were given up on keep slots, and modeNoSlots while
// they keep all there are.
var (
	modeSlotsLost = backend.Condition{
		Name: "handlers", Mode: "slots-lost",
		Works: "calls; tasks, in the slots that are left",
		Lost:  "the slots of handlers that ignore the end of their contexts, until these return or the process ends",
	}
	modeNoSlots = backend.Condition{
		Name: "slots", Mode: "no-slots", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; submitting; tasks at other instances",
		Lost:  "no task is begun until a handler that ignored the end of its context returns, or the process ends",
	}
)

// condition reports whether the store accepts results. If it takes longer than heartbeats may take, nothing is claimed.
func (s *settler) condition() backend.Condition {
	c := modeUnwritten
	n, since := s.oldest()
	if c.Up = n == 0 || time.Since(since) < s.e.heartbeat.Lease/2; !c.Up {
		c.Since = since
		c.Cause = fmt.Sprintf("%d results are not written, the oldest for %v", n, time.Since(since).Round(time.Second))
	}
	return c
}

// claimsCondition reports whether the store refuses to claim from a queue.
func (e *Engine) claimsCondition() backend.Condition {
	c := modeUnclaimable
	c.Up = true
	for name, p := range e.pools {
		if err := p.refusal.Load(); err != nil {
			c.Up, c.Cause = false, fmt.Sprintf("claiming from queue %q: %s", name, (*err).Error())
		}
	}
	return c
}

// slotConditions reports whether handlers that were given up on keep slots, and whether they keep all.
func (e *Engine) slotConditions() []backend.Condition {
	some, all := modeSlotsLost, modeNoSlots
	some.Up, all.Up = true, len(e.pools) == 0
	var causes []string
	for name, p := range e.pools {
		p.mu.Lock()
		lost, since := p.abandoned()
		slots := p.applied.Slots()
		p.mu.Unlock()
		if lost == 0 || lost < slots {
			all.Up = true
		}
		if lost == 0 {
			continue
		}
		causes = append(causes, fmt.Sprintf("queue %q: %d of %d", name, lost, slots))
		if some.Up || since.Before(some.Since) {
			some.Up, some.Since = false, since
		}
	}
	slices.Sort(causes)
	some.Cause = strings.Join(causes, ", ")
	if !all.Up {
		all.Cause, all.Since = some.Cause, some.Since
	}
	return []backend.Condition{some, all}
}

// Conditions returns what keeps tasks from being run here, or does not.
func (e *Engine) Conditions() []backend.Condition {
	return append([]backend.Condition{e.heartbeat.Condition(), e.settler.condition(), e.claimsCondition()}, e.slotConditions()...)
}
