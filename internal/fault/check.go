package fault

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Limits are the properties of a queue's worker.
type Limits struct {
	Retries    int // extra attempts
	MaxCrashes int
}

// A Violation is a broken promise.
type Violation struct {
	Rule  string // I2 and so on, as in the design
	Tasks []string
	Text  string
}

func (v Violation) String() string { return v.Rule + ": " + v.Text }

// A checker replays a log.
type checker struct {
	limits  func(queue string) Limits
	tasks   map[string]backend.Task
	sets    map[string]bool   // sources of committed batches
	settled map[string]int    // accepted settles by id#fence
	batches map[batchID]bool  // committed; true if they need not wait for their source
	live    map[string]string // ids by queue and unique key
	charged map[string]int    // attempts by id: claims without released, snoozed and lost ones
	found   []Violation
}

// Check returns the broken promises that the log shows, without those about unfinished work.
func (l *Log) Check(limits func(queue string) Limits) []Violation {
	c := &checker{
		limits: limits, tasks: map[string]backend.Task{}, settled: map[string]int{}, batches: map[batchID]bool{},
		sets: map[string]bool{}, live: map[string]string{}, charged: map[string]int{},
	}
	for _, e := range l.Entries {
		if e.Commits != "" && c.tasks[e.Commits].Subtasks != nil {
			c.fail("I5", e, e.Commits, "a batch was committed after the set was finished")
		}
		if s := e.Spawn; s.Source != "" {
			key := batchID{s.Source, s.Batch}
			c.sets[s.Source] = true
			c.batches[key] = c.batches[key] || s.Now
		}
		for _, t := range e.Left {
			if t.UniqueKey == "" || c.live[t.Queue+" "+t.UniqueKey] == "" {
				c.fail("I7", e, t.ID, "it was not inserted, and no live task has its key %q", t.UniqueKey)
			}
		}
		if e.Op == "Purge" || e.Op == "Delete" {
			c.purge(e)
		}
		for _, ch := range e.Changes {
			c.change(e, ch)
		}
	}
	return c.found
}

func (c *checker) fail(rule string, e Entry, id, format string, args ...any) {
	text := fmt.Sprintf("task %s at %.3fs, %s: ", id, e.At.Seconds(), e.Op) + fmt.Sprintf(format, args...)
	c.found = append(c.found, Violation{rule, []string{id}, text})
}

func (c *checker) change(e Entry, ch Change) {
	a, b, id := ch.Before, ch.After, ch.id()
	if b.ID == "" {
		if e.Op != "Discard" && e.Op != "Purge" && e.Op != "Delete" || e.Op == "Discard" && (a.Fence > 0 || a.Source == "") {
			c.fail("I1", e, id, "deleted while %s", a.Status)
		}
		c.forget(a)
		return
	}
	c.tasks[id] = b
	switch finished := a.Subtasks == nil && b.Subtasks != nil; {
	case finished:
		c.finish(e, b)
		if e.Op == "Finish" && a.Status == b.Status && a.Fence == b.Fence {
			return
		}
		fallthrough
	case a.Status.Final():
		c.fail("I3", e, id, "changed from %s after its end: %s", a.Status, ch)
	default:
		c.move(e, ch)
	}
	c.keys(e, b)
}

// rows are the rows of the state table that each operation may follow.
var rows = map[string][]int{
	"Insert": {1}, "Finish": {1}, "Claim": {2}, "Settle": {3, 4, 5, 6, 10}, "ExpireOwner": {7, 10},
	"Promote": {8, 11}, "Stop": {9},
}

// table is the state table. Transitions copies it, which is too slow for each change of a run.
var table = backend.Transitions()

// Row returns the row of the state table for a change of this entry, or 0 if there is none.
func (e Entry) Row(ch Change) int {
	a, b := ch.Before, ch.After
	if e.Op == "Finish" && a.Subtasks == nil && b.Subtasks != nil {
		return 12
	}
	for _, t := range table {
		from := a.Status == "" && len(t.From) == 0 || slices.Contains(t.From, a.Status)
		if slices.Contains(rows[e.Op], t.Row) && from && slices.Contains(t.To, b.Status) {
			return t.Row
		}
	}
	return 0
}

// move checks a transition, and the fields that it writes, against the state table.
func (c *checker) move(e Entry, ch Change) {
	a, b := ch.Before, ch.After
	if e.Op == "Refund" {
		if a.Status != b.Status || a.Fence != b.Fence || a.Attempt != b.Attempt || b.Crashes > a.Crashes {
			c.fail("table", e, b.ID, "a refund changed more than crashes: %s", ch)
		}
		return
	}
	if e.Row(ch) == 0 {
		c.fail("table", e, b.ID, "no row leads from %q to %q", a.Status, b.Status)
	}
	if e.Op == "Claim" {
		c.claim(e, a, b)
	} else if b.Fence != a.Fence {
		c.fail("I2", e, b.ID, "the fence went from %d to %d without a claim", a.Fence, b.Fence)
	}
	switch {
	case e.Op == "Claim":
		c.charged[b.ID]++
	case a.Status == backend.StatusRunning && b.Status == backend.StatusWaiting, e.Op == "ExpireOwner" &&
		b.Status == backend.StatusFailed:
		c.charged[b.ID]--
	}
	if b.Attempt != c.charged[b.ID] {
		c.fail("I4", e, b.ID, "attempt %d, and %d claims were neither released nor lost", b.Attempt, c.charged[b.ID])
	}
	if e.Op == "Settle" {
		key := claimID(b.ID, b.Fence)
		if c.settled[key]++; c.settled[key] > 1 {
			c.fail("I2", e, b.ID, "fence %d was settled twice", b.Fence)
		}
	}
	if max := c.limits(b.Queue).MaxCrashes; b.Crashes > max || b.Crashes == max && !b.Status.Final() {
		c.fail("I4", e, b.ID, "%d crashes, and it is %s", b.Crashes, b.Status)
	}
	if charged := b.Attempt - a.Attempt; e.Op != "Claim" && charged > 0 || charged < -1 || b.Attempt < 0 {
		c.fail("I4", e, b.ID, "attempts went from %d to %d", a.Attempt, b.Attempt)
	}
}

// claimID identifies a claim of a task.
func claimID(id string, fence int64) string { return id + "#" + strconv.FormatInt(fence, 10) }

func (c *checker) claim(e Entry, a, b backend.Task) {
	if b.Fence != a.Fence+1 || b.Attempt != a.Attempt+1 {
		c.fail("I2", e, b.ID, "a claim took fence %d and attempt %d to %d and %d", a.Fence, a.Attempt, b.Fence, b.Attempt)
	}
	if max := c.limits(b.Queue).Retries + 1; b.Attempt > max {
		c.fail("I4", e, b.ID, "attempt %d of %d", b.Attempt, max)
	}
	if a.Source != "" {
		now, committed := c.batches[batchID{a.Source, a.Batch}]
		if src := c.tasks[a.Source]; !committed || !now && src.Status != backend.StatusSuccess {
			c.fail("gate", e, b.ID, "claimed while its source is %s; its batch is committed: %v", src.Status, committed)
		}
	}
	if a.RunAt.After(e.Now) && a.WrongVersionSince.IsZero() { // otherwise it may have waited for a worker of its version

		c.fail("run_at", e, b.ID, "claimed %v before it was due", a.RunAt.Sub(e.Now))
	}
	if !a.Deadline.IsZero() && e.Now.After(a.Deadline) {
		c.fail("deadline", e, b.ID, "claimed %v after its deadline", e.Now.Sub(a.Deadline))
	}
}

// finish checks a set when it is finished.
func (c *checker) finish(e Entry, source backend.Task) {
	if !source.Status.Final() {
		c.fail("I5", e, source.ID, "its set was finished while it was %s", source.Status)
	}
	var got backend.SubtaskCounts
	for _, t := range c.tasks {
		if _, committed := c.batches[batchID{source.ID, t.Batch}]; t.Source != source.ID || !committed {
			continue
		}
		switch t.Status {
		case backend.StatusSuccess:
			got.Succeeded++
		case backend.StatusFailed:
			got.Failed++
		case backend.StatusStopped:
			got.Stopped++
		default:
			c.fail("I5", e, source.ID, "its set was finished while %s was %s", t.ID, t.Status)
		}
		got.Total++
	}
	s := *source.Subtasks
	if s.Succeeded != got.Succeeded || s.Failed != got.Failed || s.Stopped != got.Stopped || s.Total != got.Total {
		c.fail("I5", e, source.ID, "counted %+v, want %+v", s, got)
	}
}

// keys checks that a unique key has one live task.
func (c *checker) keys(e Entry, t backend.Task) {
	if t.UniqueKey == "" {
		return
	}
	if t.Status.Final() {
		c.unkey(t)
		return
	}
	key := t.Queue + " " + t.UniqueKey
	if other := c.live[key]; other != "" && other != t.ID {
		c.fail("I7", e, t.ID, "%s is live with the same key", other)
	}
	c.live[key] = t.ID
}

func (c *checker) unkey(t backend.Task) {
	if key := t.Queue + " " + t.UniqueKey; c.live[key] == t.ID {
		delete(c.live, key)
	}
}

// CheckEnd returns unfinished work when none is expected: tasks that have not ended, and unfinished sets. It also
// returns tasks that differ between the store and the log, because an operation changed them unnoticed.
func (l *Log) CheckEnd(stored []backend.Task) []Violation {
	var found []Violation
	fail := func(rule string, t backend.Task, format string, args ...any) {
		found = append(found, Violation{rule, []string{t.ID, t.Source}, "task " + t.ID + " " + fmt.Sprintf(format, args...)})
	}
	sets, fan := map[string]bool{}, map[string]bool{}
	for _, e := range l.Entries {
		if e.Commits != "" {
			sets[e.Commits] = true
		}
		for _, c := range e.Changes {
			if c.After.ID == "" {
				delete(sets, c.Before.ID)
			}
			if e.Op == "Claim" {
				fan[c.After.ID] = e.FanIn
			}
		}
	}
	counts := map[string]backend.SubtaskCounts{}
	there := map[string]backend.Task{}
	for _, t := range stored {
		there[t.ID] = t
		if !same(t, l.Tasks[t.ID]) {
			fail("log", t, "is %s fence %d in the store and %s fence %d in the log", t.Status, t.Fence,
				l.Tasks[t.ID].Status, l.Tasks[t.ID].Fence)
		}
		n := counts[t.Source]
		n.Total++
		switch t.Status {
		case backend.StatusSuccess:
			n.Succeeded++
		case backend.StatusFailed:
			n.Failed++
		case backend.StatusStopped:
			n.Stopped++
		default:
			fail("I1", t, "is still %s, fence %d, run at %v", t.Status, t.Fence, t.RunAt.Sub(t.Created).Round(time.Second))
		}
		counts[t.Source] = n
	}
	for id := range l.Tasks {
		if _, ok := there[id]; !ok {
			fail("log", l.Tasks[id], "is gone from the store")
		}
	}
	for id := range sets {
		t := there[id]
		n := counts[id]
		switch s := t.Subtasks; {
		case s == nil:
			fail("I5", t, "is %s and its set was never finished", t.Status)
		case s.Total != n.Total || s.Succeeded != n.Succeeded || s.Failed != n.Failed || s.Stopped != n.Stopped:
			fail("I5", t, "counted %+v, want %+v", *s, n)
		case t.Status == backend.StatusSuccess && fan[id] && there[id+"/done"].ID == "":
			fail("I5", t, "has no task for its SubtasksDone")
		}
	}
	return found
}

// Expiries returns the entries in which another process declared an owner dead.
func (l *Log) Expiries() []Entry {
	var list []Entry
	for _, e := range l.Entries {
		if e.Expires && !strings.HasPrefix(e.Owner, e.Instance) {
			list = append(list, e)
		}
	}
	return list
}
