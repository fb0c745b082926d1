package tasks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// modeUnwritten is the mode of an App with workers while the store doesn't accept results.
var modeUnwritten = backend.Condition{
	Name: "results", Mode: "results-unwritten", Stops: []backend.Stopped{backend.StopsTasks},
	Works: "calls; tasks, whose results are buffered and retried",
	Lost:  "results not written before this process ends: their tasks run again",
}

// modeUnclaimable is the mode of an App with workers while the store refuses claims.
var modeUnclaimable = backend.Condition{
	Name: "claims", Mode: "claims-refused", Stops: []backend.Stopped{backend.StopsTasks},
	Works: "calls; submitting; tasks of other queues, and tasks claimed by a hint",
	Lost:  "tasks of a queue start late or not at all",
}

// modeSlotsLost is the mode of an App with workers while abandoned handlers keep slots, and modeNoSlots while they
// keep all.
var (
	modeSlotsLost = backend.Condition{
		Name: "handlers", Mode: "slots-lost",
		Works: "calls; tasks, in the remaining slots",
		Lost:  "slots of handlers that don't return after their contexts end, until they return or the process ends",
	}
	modeNoSlots = backend.Condition{
		Name: "slots", Mode: "no-slots", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; submitting; tasks on other instances",
		Lost:  "no task starts until one of these handlers returns or the process ends",
	}
)

// condition reports whether the store accepts results. If writing takes longer than heartbeats may, nothing is
// claimed.
func (s *settler) condition() backend.Condition {
	c := modeUnwritten
	n, since := s.oldest()
	if c.Up = n == 0 || time.Since(since) < s.e.heartbeat.Lease/2; !c.Up {
		c.Since = since
		c.Cause = fmt.Sprintf("%d results unwritten, the oldest for %v", n, time.Since(since).Round(time.Second))
	}
	return c
}

// claimsCondition reports whether the store accepts claims from all queues.
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

// slotConditions reports whether abandoned handlers keep slots, and whether they keep all.
func (e *Engine) slotConditions() (some, all backend.Condition) {
	some, all = modeSlotsLost, modeNoSlots
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
	return some, all
}

// Conditions returns the conditions that affect running tasks here.
func (e *Engine) Conditions() []backend.Condition {
	some, all := e.slotConditions()
	return []backend.Condition{e.heartbeat.Condition(), e.settler.condition(), e.claimsCondition(), some, all}
}
