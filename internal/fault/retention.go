package fault

import (
	"maps"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// purge checks that retention only removes families in which everything has ended, every set is finished, and nothing
// ended more recently than the configured age. A family is a task that isn't a subtask, its committed subtasks, their
// subtasks, and their tasks for SubtasksDone.
func (c *checker) purge(e Entry) {
	roots := map[string]string{}
	for _, ch := range e.Changes {
		if ch.After.ID == "" {
			roots[c.root(ch.Before).ID] = ch.Before.ID
		}
	}
	if len(roots) == 0 {
		return
	}
	for _, t := range c.tasks {
		removed, ok := roots[c.root(t).ID]
		if !ok || !c.counts(t) {
			continue
		}
		if !t.Status.Final() {
			c.fail("retention", e, removed, "removed while %s of its family is %s", t.ID, t.Status)
		}
		if c.sets[t.ID] && t.Subtasks == nil {
			c.fail("retention", e, removed, "removed while the set of %s is not finished", t.ID)
		}
		if age := e.Now.Sub(t.Ended); e.Keep.Max == 0 && t.Status.Final() && age < e.Keep.Age-time.Millisecond {
			c.fail("retention", e, removed, "removed %v after %s of its family has ended", age, t.ID)
		}
	}
}

// root returns the root of a task's family, as far as it exists.
func (c *checker) root(t backend.Task) backend.Task {
	for {
		source := t.Source
		if t.DoneOf != "" {
			source = t.DoneOf
		}
		up, ok := c.tasks[source]
		if !ok || !c.counts(t) {
			return t
		}
		t = up
	}
}

// counts reports whether a task belongs to its source's family: a subtask does once its batch is committed.
func (c *checker) counts(t backend.Task) bool {
	_, committed := c.batches[batchID{t.Source, t.Batch}]
	return t.Source == "" || committed
}

// forget removes a deleted task. Another one may get its id.
func (c *checker) forget(t backend.Task) {
	delete(c.tasks, t.ID)
	delete(c.charged, t.ID)
	delete(c.sets, t.ID)
	maps.DeleteFunc(c.batches, func(b batchID, _ bool) bool { return b.source == t.ID })
	for fence := range t.Fence {
		delete(c.settled, claimID(t.ID, fence+1))
	}
	c.unkey(t)
}
