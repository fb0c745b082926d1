package fault_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"

	"github.com/afgen/afgen/internal/fault"
)

// violations returns all broken promises.
func (m *sim) violations() []fault.Violation {
	log := m.world.Log()
	broken := log.Check(limits)
	fail := func(rule, id, format string, args ...any) {
		broken = append(broken, fault.Violation{Rule: rule, Tasks: []string{id}, Text: fmt.Sprintf(format, args...)})
	}
	for _, text := range m.book.broken {
		fail("book", "", "%s", text)
	}
	for _, id := range m.book.acks.All() {
		if m.world.Births(id) == 0 {
			fail("I1", id, "task %s was acknowledged but is missing", id)
		}
	}
	broken = append(broken, log.CheckJobs()...)
	for _, s := range m.book.silences {
		if s.until.IsZero() {
			s.until = time.Now()
		}
		broken = append(broken, log.CheckQuiet(s.job, s.from, s.until)...)
	}
	broken = append(broken, m.undecoded(log)...)
	births := map[string]int{}
	tasks := map[string]backend.Task{} // at the end, including removed ones in their last state
	for _, e := range log.Entries {
		for _, c := range e.Changes {
			if c.Before.ID == "" {
				births[c.After.ID]++
			}
			if c.After.ID == "" {
				tasks[c.Before.ID] = c.Before
				if !c.Before.Status.Final() { // of a batch that was never committed
					delete(tasks, c.Before.ID)
				}
				continue
			}
			tasks[c.After.ID] = c.After
			claim := claimOf(lifeOf(c.After.ID, births[c.After.ID]), c.After.Fence)
			if v := m.book.claims[claim]; e.Op == "Settle" && c.After.Status == backend.StatusWaiting && !v.released(e.Now) {
				fail("cause", c.After.ID,
					"claim %s was given back at %v without a cause: its handler returned %v, its context ended with %v",
					claim, e.At, v.err, v.cause)
			}
		}
	}
	maps.DeleteFunc(tasks, func(id string, _ backend.Task) bool { return births[id] > 1 || births[doneOf(id)] > 1 })
	for id, task := range tasks {
		if task.DoneOf == "" {
			continue
		}
		c := tasks[task.DoneOf].Subtasks
		if c == nil {
			fail("I5", id, "%s runs before its set is finished", id)
			continue
		}
		for _, got := range m.book.dones[lifeOf(id, 1)] {
			if got != [4]int{c.Total, c.Succeeded, c.Failed, c.Stopped} {
				fail("I5", id, "SubtasksDone %s got %v, want the counts %+v", id, got, *c)
			}
		}
		if n := len(m.book.dones[lifeOf(id, 1)]); n == 0 && task.Status != backend.StatusStopped && task.Crashes < 3 {
			fail("I5", id, "SubtasksDone of %s never ran; its task is %s: %+v", task.DoneOf, task.Status, task.Error)
		}
	}
	if m.s.Kind != everything && m.s.Kind != poisoned {
		for _, e := range log.Expiries() {
			if m.s.Kind == rolling && !slices.ContainsFunc(e.Changes, counted) {
				continue // replies were lost or late, and the time to end its owner was up: nothing is counted for it
			}
			fail("expiry", "", "%s declared %s dead at %v", e.Instance, e.Owner, e.At)
		}
	}
	if m.s.Kind == poisoned {
		broken = append(broken, m.poisoned(log, tasks)...)
	}
	if m.s.calmEnough() {
		for id, task := range tasks {
			var o order
			if err := json.Unmarshal(task.Payload, &o); err != nil {
				fail("payload", id, "%s: %v", id, err)
			}
			if o.Do == "" && len(o.Kids) == 0 && len(o.Ver) == 0 && o.For < 7*time.Second && task.Fence > 1 {
				fail("results", id, "%s ran %d times, though no result may get lost", id, task.Fence)
			}
		}
	}
	if m.s.Kind == rolling {
		for id, task := range tasks {
			if task.Status == backend.StatusStopped && strings.HasPrefix(id, "job/") && task.Fence == 0 {
				continue // its job was disabled before it was submitted
			}
			if task.Crashes > 0 || task.Attempt != 1 || task.Status != backend.StatusSuccess {
				fail("rolling", id, "%s is %s after attempt %d and %d crashes: %+v", id, task.Status, task.Attempt,
					task.Crashes, task.Error)
			}
		}
	}
	return broken
}

// doneOf returns the id of the task whose SubtasksDone a task runs, or its own.
func doneOf(id string) string { return strings.TrimSuffix(id, "/done") }

// counted reports whether a change charges a task with a crash, or makes it a suspect.
func counted(c fault.Change) bool {
	return c.After.Crashes > c.Before.Crashes || c.After.Suspected() && !c.Before.Suspected()
}

// poisoned checks that tasks that kill their processes fail, and that no other task is charged for a suspect's crash.
// A task that isn't suspected may kill next to the only suspect, which is then charged. That happens at its first
// kill, and again once it is cleared: before it kills again, if another task killed its last process soon after it
// had started.
func (m *sim) poisoned(log *fault.Log, tasks map[string]backend.Task) (broken []fault.Violation) {
	kills := func(t *backend.Task) (after time.Duration, ok bool) {
		var o order
		err := json.Unmarshal(t.Payload, &o)
		return o.For, err == nil && o.Do == "kill"
	}
	surprises := func(c fault.Change) bool {
		after, ok := kills(&c.Before)
		return ok && (!c.Before.Suspected() || after >= c.Before.Suspect.Test())
	}
	fail := func(id, format string, args ...any) {
		broken = append(broken,
			fault.Violation{Rule: "poison", Tasks: []string{id}, Text: id + " " + fmt.Sprintf(format, args...)})
	}
	for id, task := range tasks {
		if _, ok := kills(&task); ok && (task.Status != backend.StatusFailed || task.Crashes != 3) {
			fail(id, "is %s after %d crashes", task.Status, task.Crashes)
		}
	}
	for _, e := range log.Expiries() {
		if slices.ContainsFunc(e.Changes, surprises) {
			continue
		}
		for _, c := range e.Changes {
			if _, ok := kills(&c.After); !ok && c.After.Crashes > c.Before.Crashes {
				fail(c.After.ID, "was charged at %v, though what killed %s was suspected", e.At, e.Owner)
			}
		}
	}
	return broken
}
