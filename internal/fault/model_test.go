package fault_test

import (
	"fmt"
	"slices"
	"testing"
)

// This model shows how a set of subtasks grows and is finished. It is small enough to try every order of its steps
// and a crash between any two. Its processes:
//
//   - a spawner inserts two gated children, raises the source's revision with a conditional write, and opens the
//     gate;
//   - the source's own run settles, and then looks whether the set is finished;
//   - every open child settles, and then looks as well;
//   - a sweeper completes the work of crashed processes: it discards gated children that are not committed, opens
//     those that
//
// are, and looks. It goes by age and can't distinguish a crashed spawner from a slow one, so it may discard at any
// time.
//
// Looking is two steps: read whether a live child exists, then write that the set is finished. The three designs
// differ in the condition of the write, and in which children count as live.
type design int

const (
	revision design = iota // finish only if the revision is unchanged since before looking
	bare                   // finish if all children, gated or open, have ended
	intent                 // the parent lists intended inserts: finish if no listed child is live or pending
)

// The state of a child.
type childState byte

const (
	absent childState = iota
	gated
	open
	ended
)

const (
	spawners = 2
	each     = 2
	kids     = spawners * each
)

// A model is one state. It is a value, so it can be a map key.
type model struct {
	child    [kids]childState
	rev      int8
	counted  [spawners]bool // the batch is committed, as the design defines it
	source   bool           // its own run has ended
	finished int8
	late     bool                // a child was opened, or was live, when or after the set was finished
	proc     [spawners + 2]int8  // program counters: spawners, the source, and the one that looks for all children
	look     [spawners + 2]looks // what each has read
	ends     [kids]int8          // 1: the child must still look
	crashes  int8
}

type looks struct {
	rev  int8
	none bool
}

const (
	crashed int8 = 100
	done    int8 = 99
)

// A step is one atomic step of a process.
type step struct {
	who  string
	next model
}

// steps returns every possible next step.
func (d design) steps(m model) []step {
	var out []step
	add := func(who string, next model, ok bool) {
		if ok {
			out = append(out, step{who, next})
		}
	}
	for i := range spawners {
		next, ok := d.spawn(m, i)
		add(fmt.Sprintf("spawner %d, step %d", i, m.proc[i]), next, ok)
		if m.crashes > 0 && m.proc[i] > 0 && m.proc[i] < done {
			next := m
			next.proc[i], next.crashes = crashed, m.crashes-1
			add(fmt.Sprintf("spawner %d crashes", i), next, true)
		}
	}
	for i := range spawners {
		next, ok := d.discard(m, i)
		add(fmt.Sprintf("sweeper discards batch %d", i), next, ok)
	}
	next, ok := d.settle(m)
	add(fmt.Sprintf("source, step %d", m.proc[spawners]), next, ok)
	for k := range kids {
		next, ok := m, m.child[k] == open
		next.child[k], next.ends[k] = ended, 1
		add(fmt.Sprintf("child %d settles", k), next, ok)
	}
	next, ok = d.childLooks(m)
	add(fmt.Sprintf("child looks, step %d", m.proc[spawners+1]), next, ok)
	if m.crashes > 0 {
		for _, i := range []int{spawners, spawners + 1} {
			if at := m.proc[i]; at > 0 && at < done {
				next := m
				next.crashes--
				next.proc[i] = 0
				if i == spawners {
					next.proc[i] = crashed
				}
				add("who looks crashes", next, true)
			}
		}
	}
	return out
}

// discard removes a batch that looks abandoned: its gated children if it is not committed, and its entry in the list.
func (d design) discard(m model, i int) (model, bool) {
	if d == revision && m.counted[i] || d != intent && m.child[i*each] != gated || d == intent && !m.counted[i] {
		return m, false
	}
	m.counted[i] = false
	for k := i * each; k < i*each+each; k++ {
		if m.child[k] == gated {
			m.child[k] = absent
		}
	}
	return m, true
}

// spawn is the next step of a spawner: insert both children gated, commit, open.
func (d design) spawn(m model, i int) (model, bool) {
	mine := m.child[i*each : i*each+each]
	next := m
	theirs := next.child[i*each : i*each+each]
	switch m.proc[i] {
	case 0:
		if d == intent { // the list comes first, and is refused if the set is finished
			if m.finished > 0 {
				next.proc[i] = done
				return next, true
			}
			next.counted[i] = true
			next.proc[i] = 1
			return next, true
		}
		next.proc[i] = 1
		return next, true
	case 1:
		for k := range mine {
			theirs[k] = gated
		}
		next.proc[i] = 2
	case 2:
		switch {
		case d == intent: // removed from the list: the children exist
			next.counted[i] = false
		case mine[0] == absent: // discarded meanwhile: the caller starts over
			next.proc[i] = done
			return next, true
		case m.finished > 0: // refused in all designs by the source's document
			for k := range mine {
				theirs[k] = absent
			}
			next.proc[i] = done
			return next, true
		case d == revision:
			next.rev++
			next.counted[i] = true
		}
		next.proc[i] = 3
	case 3:
		for k := range mine {
			if mine[k] == gated {
				theirs[k] = open
				next.late = next.late || m.finished > 0
			}
		}
		next.proc[i] = done
	default:
		return m, false
	}
	return next, true
}

// settle ends the source's own run, and then looks.
func (d design) settle(m model) (model, bool) {
	next := m
	if m.proc[spawners] == 0 {
		next.source = true
		next.proc[spawners] = 1
		return next, true
	}
	return d.lookBy(m, spawners, done)
}

// childLooks makes one settled child look.
func (d design) childLooks(m model) (model, bool) {
	if m.proc[spawners+1] == 0 {
		k := slices.Index(m.ends[:], 1)
		if k < 0 {
			return m, false
		}
		next := m
		next.ends[k] = 0
		next.proc[spawners+1] = 1
		return next, true
	}
	return d.lookBy(m, spawners+1, 0)
}

// lookBy reads at step 1 and writes at step 2.
func (d design) lookBy(m model, who int, then int8) (model, bool) {
	next := m
	switch m.proc[who] {
	case 1:
		next.look[who] = looks{m.rev, m.source && d.complete(m)}
		next.proc[who] = 2
	case 2:
		next.proc[who] = then
		if seen := next.look[who]; seen.none && m.finished == 0 && (d != revision || seen.rev > 0 && seen.rev == m.rev) {
			next.finish()
		}
		next.look[who] = looks{}
	default:
		return m, false
	}
	return next, true
}

// complete reports whether no child of the set is live or known to follow.
func (d design) complete(m model) bool {
	some := m.rev > 0
	for k, c := range m.child {
		if c == open || c == gated && (d != revision || m.counted[k/each]) {
			return false
		}
		some = some || c == ended
		if d == intent && m.counted[k/each] {
			return false // on the list
		}
	}
	return some
}

func (m *model) finish() {
	m.finished++
	for k, c := range m.child {
		m.late = m.late || c == open || c == gated && m.counted[k/each] // a committed child will be opened
	}
}

// sweep does the sweeper's work once all other processes have stopped. Each of its steps is conditional, so they may
// be combined.
func (d design) sweep(m model) model {
	for i := range spawners {
		for k := i * each; k < i*each+each; k++ {
			if m.child[k] != gated {
				continue
			}
			if !m.counted[i] {
				m.child[k] = absent
			} else {
				m.child[k] = open
				m.late = m.late || m.finished > 0
			}
		}
		m.counted[i] = m.counted[i] && d == revision
	}
	for k := range m.child {
		if m.child[k] == open {
			m.child[k] = ended
		}
	}
	if m.finished == 0 && m.source && d.complete(m) && (d != revision || m.rev > 0) {
		m.finish()
	}
	return m
}

// wrong returns the promise that a state breaks, or "". atRest means that only the sweeper has steps left.
func (d design) wrong(m model, atRest bool) string {
	switch {
	case m.finished > 1:
		return "the set was finished twice"
	case m.late:
		return "the set was finished while a child was live or still to be opened"
	case !atRest:
		return ""
	}
	m = d.sweep(m)
	if m.late {
		return "the sweeper opened a child after the set was finished"
	}
	some := slices.ContainsFunc(m.child[:], func(c childState) bool { return c != absent })
	if m.source && some && m.finished == 0 {
		return "the set is never finished"
	}
	return ""
}

// explore walks all interleavings and returns the shortest path to a broken promise, if there is one.
func (d design) explore(start model) (broken string, trace []string, states int) {
	type from struct {
		before model
		who    string
	}
	came := map[model]from{start: {}}
	for todo := []model{start}; len(todo) > 0; {
		m := todo[0]
		todo = todo[1:]
		next := d.steps(m)
		if text := d.wrong(m, len(next) == 0); text != "" {
			for m != start {
				trace = append(trace, came[m].who)
				m = came[m].before
			}
			slices.Reverse(trace)
			return text, trace, len(came)
		}
		for _, s := range next {
			if _, seen := came[s.next]; !seen {
				came[s.next] = from{m, s.who}
				todo = append(todo, s.next)
			}
		}
	}
	return "", nil, len(came)
}

// The implemented design has no violation in any order of its steps, with up to two crashes at any of them.
func TestRevisionBeforeGateKeepsSetsWhole(t *testing.T) {
	broken, trace, states := revision.explore(model{crashes: 2})
	if broken != "" {
		t.Errorf("%s:\n%q", broken, trace)
	}
	if states < 10_000 {
		t.Errorf("only %d states: the model does not move", states)
	}
	t.Logf("%d states", states)
}

// The rejected designs break the promise, which shows that the check works.
func TestWeakerSetDesignsFail(t *testing.T) {
	for d, name := range map[design]string{bare: "a bare existence check", intent: "an intent list on the parent"} {
		broken, trace, states := d.explore(model{crashes: 2})
		if broken == "" {
			t.Errorf("%s has no violation in %d states", name, states)
		}
		t.Logf("%s, after %d states: %s\n%q", name, states, broken, trace)
	}
}
