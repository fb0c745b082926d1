//go:build unix

package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/runtime/backend"

	af "github.com/afgen/afgen/runtime"
)

const maxCrashes = 3 // of a task; after one more it fails as poison

func limits(queue string) fault.Limits {
	for _, w := range workers {
		if w.Name == queue {
			return fault.Limits{Retries: w.Retries, MaxCrashes: maxCrashes}
		}
	}
	return fault.Limits{}
}

// A trial checks what happened in a scenario.
type trial struct {
	*Audit
	fleet    *Fleet
	starved  []stretch // when the parent itself didn't get to run
	broken   []fault.Violation
	byPrefix map[string]*process // by instance
	again    []time.Duration     // from each kill to the next claim of its tasks, if a process was free to claim them
	anyhow   []time.Duration     // the same without a free process
	most     map[string]int      // tasks of a queue that one owner had at once, according to the store
}

func newTrial(a *Audit, f *Fleet, starved []stretch) *trial {
	t := &trial{Audit: a, fleet: f, starved: starved, byPrefix: map[string]*process{}, most: map[string]int{}}
	for _, p := range f.processes() {
		t.byPrefix[p.instance] = p
	}
	return t
}

func (t *trial) fail(rule, id, format string, args ...any) {
	t.broken = append(t.broken, fault.Violation{Rule: rule, Tasks: []string{id}, Text: fmt.Sprintf(format, args...)})
}

func (t *trial) check() {
	t.broken = append(t.Log.Check(limits), t.Log.CheckEnd(slices.Collect(maps.Values(t.Stored)))...)
	for _, text := range t.fleet.book.broken {
		t.fail("book", "", "%s", text)
	}
	for _, id := range t.fleet.book.acks.All() {
		if _, ok := t.Stored[id]; !ok {
			t.fail("I1", id, "task %s was acknowledged but is missing", id)
		}
	}
	for _, task := range t.Stored {
		t.ending(task)
	}
	t.claims()
	t.handlers()
	t.expiries()
	t.crashes()
}

// process returns the process of an owner.
func (t *trial) process(owner string) *process {
	instance, _, _ := strings.Cut(owner, "-")
	return t.byPrefix[instance]
}

// ending checks that a task has ended according to its order.
func (t *trial) ending(task backend.Task) {
	o, id := orderOf(task), task.ID
	want := ending{backend.StatusSuccess, 1}
	for _, w := range workers {
		if w.Name == task.Queue && task.DoneOf == "" {
			want = o.ends(w)
		}
	}
	got := ending{task.Status, task.Attempt}
	switch {
	case task.Status == backend.StatusStopped:
		if !t.mayStop(task) {
			t.fail("stop", id, "%s was stopped without a request: %+v", id, task.Error)
		}
	case task.Status == backend.StatusFailed && task.Crashes == maxCrashes:
	case task.Status == backend.StatusFailed && !task.Deadline.IsZero() && task.Attempt < want.attempt &&
		task.Error.Code == backend.ErrDeadlineExceeded:
	case got != want:
		t.fail("ending", id, "%s is %s after attempt %d, and its order %+v is %s after %d: %+v", id, got.status,
			got.attempt, o, want.status,
			want.attempt, task.Error)
	case got.status == backend.StatusSuccess && task.DoneOf == "":
		var r receipt
		if err := json.Unmarshal(task.Result, &r); err != nil || r != (receipt{o.Ticket, task.Fence}) {
			t.fail("result", id, "%s, ticket %d, fence %d, has the result %s", id, o.Ticket, task.Fence, task.Result)
		}
	}
	t.fanIn(task)
}

// mayStop reports whether the stop of a task, or of one of its ancestors, was requested.
func (t *trial) mayStop(task backend.Task) bool {
	if t.fleet.book.asked[task.ID] {
		return true
	}
	if task.Source == "" {
		return false
	}
	source := t.Stored[task.Source]
	if source.Status == backend.StatusFailed || source.Status == backend.StatusStopped || t.mayStop(source) {
		return true
	}
	for _, sibling := range t.Stored {
		if sibling.Source == task.Source && sibling.OnFailure == af.FailFast && sibling.Status == backend.StatusFailed {
			return true
		}
	}
	return false
}

// fanIn checks the counts that SubtasksDone was called with.
func (t *trial) fanIn(task backend.Task) {
	told := t.fleet.book.told[task.ID]
	c := t.Stored[task.DoneOf].Subtasks
	switch {
	case task.DoneOf == "":
		return
	case c == nil:
		t.fail("I5", task.ID, "%s runs before its set is finished", task.ID)
		return
	case len(told) == 0 && task.Crashes < maxCrashes:
		t.fail("I5", task.ID, "SubtasksDone of %s never ran; its task is %s: %+v", task.DoneOf, task.Status, task.Error)
	}
	for _, got := range told {
		if got != [4]int{c.Total, c.Succeeded, c.Failed, c.Stopped} {
			t.fail("I5", task.ID, "SubtasksDone %s got %v, want the counts %+v", task.ID, got, *c)
		}
	}
}

// claims checks who begins and ends claims: an owner itself, or the process that releases the claims of an expired
// one.
func (t *trial) claims() {
	expired := map[string]bool{}
	running := map[string]int{}
	for i := range t.Log.Entries {
		e := &t.Log.Entries[i]
		if e.Expires {
			expired[e.Owner] = true
			continue
		}
		if len(e.Changes) == 0 {
			continue
		}
		c := e.Changes[0]
		id, owner := c.After.ID, t.Owners[e]
		switch e.Op {
		case "Claim":
			running[e.Owner+c.After.Queue]++
			t.most[c.After.Queue] = max(t.most[c.After.Queue], running[e.Owner+c.After.Queue])
			if !strings.HasPrefix(e.Owner, e.Instance) {
				t.fail("owner", id, "%s was claimed by %s for %s", id, e.Instance, e.Owner)
			}
			if expired[e.Owner] && !t.void(i) {
				t.fail("owner", id, "%s was claimed by %s, which had been declared dead", id, e.Owner)
			}
		case "Settle", "ExpireOwner":
			running[owner+c.After.Queue]--
			if e.Op == "Settle" && !strings.HasPrefix(owner, e.Instance) {
				t.fail("I2", id, "%s was settled by %s, and its claim was %s's", id, e.Instance, owner)
			}
			if e.Op == "ExpireOwner" && t.fleet.Kind == Rolling && c.After.Crashes > c.Before.Crashes && !t.couldNot(owner) {
				t.fail("rolling", id, "%s was charged a crash for %s", id, owner)
			}
			if e.Op == "ExpireOwner" && !expired[owner] {
				t.fail("expiry", id, "%s was taken from %s, which had not expired", id, owner)
			}
		}
	}
}

// void reports whether the claim in entry i was undone before it had an effect. A claim that was in flight when its
// owner was declared dead may land afterwards. Then no handler starts, and the next change of the task is that the
// claim is released, uncharged, or ended because the task should stop.
func (t *trial) void(i int) bool {
	claim := t.Log.Entries[i].Changes[0].After
	if t.fleet.book.runs[fmt.Sprintf("%s#%d", claim.ID, claim.Fence)] > 0 {
		return false
	}
	for _, e := range t.Log.Entries[i+1:] {
		if len(e.Changes) == 0 || e.Changes[0].After.ID != claim.ID {
			continue
		}
		after := e.Changes[0].After
		if after.Status == backend.StatusRunning && after.Fence == claim.Fence {
			continue // a stop was requested
		}
		return after.Fence == claim.Fence && after.Crashes == claim.Crashes &&
			(after.Status == backend.StatusWaiting && after.Attempt == claim.Attempt-1 || after.Status == backend.StatusStopped)
	}
	return false
}

// couldNot reports whether an owner that shut down could not release all its tasks because servers were as slow as
// the machine. A claim that arrives after its sender has exited can't be released by it.
func (t *trial) couldNot(owner string) bool {
	p := t.process(owner)
	return p != nil && len(t.fleet.world.Faults()) > 0 && p.ended.Sub(p.leaves) > t.fleet.Drain+shutdownMost
}

// shutdownMost is how long a shutdown takes beyond its drain at the servers' normal speed.
const shutdownMost = 3 * time.Second

// handlers checks that each claim has at most one handler, and each handler a claim.
func (t *trial) handlers() {
	claims := map[string]bool{}
	for _, e := range t.Log.Entries {
		if e.Op == "Claim" {
			c := e.Changes[0].After
			claims[fmt.Sprintf("%s#%d", c.ID, c.Fence)] = true
		}
	}
	for key, n := range t.fleet.book.runs {
		if id, _, _ := strings.Cut(key, "#"); n > 1 || !claims[key] {
			t.fail("I2", id, "%d handlers began with fence %s; claimed: %v", n, key, claims[key])
		}
	}
}

// expiries checks that no owner was declared dead without a cause.
func (t *trial) expiries() {
	lost := map[string]bool{}
	for i := range t.Log.Entries {
		if e := &t.Log.Entries[i]; e.Op == "ExpireOwner" && len(e.Changes) > 0 {
			lost[t.Owners[e]] = true
		}
	}
	for _, e := range t.Log.Expiries() {
		p, at := t.process(e.Owner), t.fleet.begun.Add(e.At)
		switch {
		case p == nil:
			t.fail("expiry", "", "%s declared %s dead, which is unknown", e.Instance, e.Owner)
		case !p.leaves.IsZero() && p.leaves.Before(at) &&
			(p.killed || p.code == exitBroken || p.code == exitUnwritten || !lost[e.Owner]):
		case slices.ContainsFunc(p.stops, func(s stretch) bool { // stopped for longer than a lease, counted from a heartbeat
			return s.to.Sub(s.from) > t.fleet.Lease-beatSlack && s.overlaps(at.Add(-2*t.fleet.Lease), at)
		}):
		case t.hungry(at.Add(-2*t.fleet.Lease), at):
		default:
			t.fail("expiry", "", "%s declared %s dead at %v; leaves at %v, killed %v, stopped %v", e.Instance, e.Owner, e.At,
				p.leaves.Sub(t.fleet.begun), p.killed, p.stops)
		}
	}
}

// reconnects is how long processes may take to recover after the last disturbance.
const reconnects = 10 * time.Second

// beatSlack is how long a heartbeat may be in flight when a process is stopped, and afterwards.
const beatSlack = 1500 * time.Millisecond

// hungry reports whether the parent didn't get to run for a while; then others may not have, either.
func (t *trial) hungry(from, to time.Time) bool {
	return slices.ContainsFunc(t.starved, func(s stretch) bool { return s.overlaps(from, to) })
}

// A crash is a task that ran in a process that was killed.
type crash struct {
	id, queue string
	killed    time.Time
	again     time.Time
	claim     int           // its index in the log
	wait      time.Duration // as a suspect
	others    bool          // there were other suspects, of which a process runs one at a time
}

// crashes measures how soon the tasks of a killed process run again.
func (t *trial) crashes() {
	open := map[string]crash{}
	for i := range t.Log.Entries {
		e := &t.Log.Entries[i]
		if len(e.Changes) == 0 {
			continue
		}
		c := e.Changes[0].After
		switch p := t.process(t.Owners[e]); {
		case e.Op == "ExpireOwner" && p != nil && p.killed && !c.Status.Final():
			open[c.ID] = crash{
				id: c.ID, queue: c.Queue, killed: p.leaves, wait: max(c.RunAt.Sub(t.fleet.begun.Add(e.At)), 0),
				others: len(open) > 0,
			}
			for id, other := range open {
				other.others = other.others || id != c.ID
				open[id] = other
			}
		case e.Op == "Claim" && !open[c.ID].killed.IsZero():
			crash := open[c.ID]
			delete(open, c.ID)
			crash.again, crash.claim = e.Now, i
			took := crash.again.Sub(crash.killed) - crash.wait
			t.anyhow = append(t.anyhow, took)
			if crash.others || !t.quietFor(crash) {
				continue
			}
			t.again = append(t.again, took)
			if took > t.fleet.world.Again() {
				t.fail("again", c.ID, "%s ran again %v after its process was killed", c.ID, took)
			}
		}
	}
}

// quietFor reports whether another process could have run a task the whole time until it ran again: one of its queue
// with free slots. In that time no process that might have held the file's lock was stopped, and the machine did its
// work.
func (t *trial) quietFor(c crash) bool {
	to := c.killed.Add(t.fleet.world.Again() + c.wait)
	if c.again.Before(to) {
		to = c.again
	}
	if t.hungry(c.killed, to) || slices.ContainsFunc(t.fleet.disturbed, func(s stretch) bool {
		return stretch{s.from, s.to.Add(reconnects)}.overlaps(c.killed.Add(-t.fleet.Lease), to)
	}) {
		return false
	}
	able := false
	for _, p := range t.fleet.processes() {
		if slices.ContainsFunc(p.stops, func(s stretch) bool { return s.overlaps(c.killed, to) }) {
			return false
		}
		there := !p.since.IsZero() && p.since.Before(c.killed) && (p.leaves.IsZero() || p.leaves.After(to))
		able = able || there && t.freeIn(p, c, to)
	}
	return able
}

// freeIn reports whether a process had a free slot the whole time until a task ran again.
func (t *trial) freeIn(p *process, c crash, to time.Time) bool {
	most := 0
	for i, w := range workers {
		if w.Name == c.queue && p.place < len(t.fleet.Workers) && slices.Contains(t.fleet.Workers[p.place], i) {
			most = w.Max
		}
	}
	n := 0
	for i := range t.Log.Entries[:c.claim] {
		e := &t.Log.Entries[i]
		at := t.fleet.begun.Add(e.At)
		if at.After(to) {
			break
		}
		if n >= most && at.After(c.killed) {
			return false
		}
		switch {
		case len(e.Changes) == 0 || e.Changes[0].After.Queue != c.queue:
		case e.Op == "Claim" && t.process(e.Owner) == p:
			n++
		case (e.Op == "Settle" || e.Op == "ExpireOwner") && t.process(t.Owners[e]) == p:
			n--
		}
	}
	return n < most
}
