package fault_test

import (
	"slices"
	"testing"
)

// This model inserts a batch of subtasks in pieces and commits it while sweepers discard it. Every step of the store
// is one write of one document, or of several that others see one after the other. The processes:
//
//   - a spawner inserts the pieces in order: for each it reads the source's generation, clears the record that the
//     batch was
//
// discarded, and writes. Then it commits: it reads the source, counts the pieces, and writes the source
// conditionally. If the commit is refused it starts over. Any reply may be lost; then it repeats the step;
//   - two sweepers discard: each checks for gated pieces, reads the source, records the discard and raises the
//     source's
//
// generation with a conditional write, and then deletes each piece that isn't of a later generation.
//
// The promise: when the spawner learns that its batch is committed, every piece is stored and stays stored.
type batchDesign int

const (
	// commit only if all pieces of the current generation exist and no discard was recorded since
	counting  batchDesign = iota
	forgetful             // commit unless the batch is recorded as discarded, which an insert clears
	unguarded             // count, but commit even if a discard was recorded afterwards
	anyAge                // count pieces that a discard may still be deleting
)

const (
	pieces   = 2
	sweepers = 2
	sweeps   = 3 // in total
	repeats  = 3 // of the spawner, from the beginning
)

// A piece is the stored state of one piece.
type piece struct {
	there, live bool
	gen         int8
}

// A batchModel is one state. It is a value, so it can be a map key.
type batchModel struct {
	piece     [pieces]piece
	gen       int8 // of the source: number of recorded discards
	discarded bool
	rev       int8
	committed bool

	at    int8 // the spawner's next step
	read  int8 // the generation it has read
	whole bool // the result of counting
	again int8 // how often it has started over
	told  bool // that the batch is committed

	sweep  [sweepers]int8 // the next step of each
	saw    [sweepers]int8 // the generation it has read
	sawRev [sweepers]int8
	left   int8 // discards that may still begin
	lost   int8 // replies that may still be lost
}

// The spawner's steps: two for each piece, then these.
const (
	readSource  = 2 * pieces
	countPieces = readSource + 1
	commitBatch = readSource + 2
	spawnerDone = readSource + 3
)

func (d batchDesign) steps(m batchModel) []batchModel {
	out := d.spawn(m)
	for i := range sweepers {
		if next, ok := d.sweepStep(m, i); ok {
			out = append(out, next)
		}
	}
	return out
}

// spawn returns the states after the spawner's next step, with its reply received and lost.
func (d batchDesign) spawn(m batchModel) []batchModel {
	if m.at >= spawnerDone {
		return nil
	}
	next := m
	next.at++
	switch p := m.at / 2; {
	case m.at < readSource && m.at%2 == 0:
		next.read, next.discarded = m.gen, false
	case m.at < readSource:
		if !m.piece[p].there {
			next.piece[p] = piece{there: true, gen: m.read}
		} else if !m.piece[p].live {
			next.piece[p].gen = max(m.piece[p].gen, m.read)
		}
	case m.at == readSource:
		next.read = m.gen
	case m.at == countPieces:
		next.whole = true
		for _, x := range m.piece {
			next.whole = next.whole && x.there && (x.live || x.gen >= m.read || d == anyAge)
		}
		if d == forgetful {
			next.whole = !m.discarded
		}
	case m.committed && !slices.ContainsFunc(m.piece[:], func(x piece) bool { return x.there && !x.live }):
		next.told = m.whole || d == forgetful // committed before, and nothing was added
	case !m.whole:
		next.at = spawnerDone
	case d != forgetful && d != unguarded && m.gen != m.read, m.discarded && d != unguarded:
		next.at = readSource
	default:
		next.committed, next.told = true, true
		next.rev++
		for i := range next.piece {
			next.piece[i].live = next.piece[i].there
		}
	}
	if next.at == spawnerDone && !next.told && m.again < repeats {
		next.at, next.again = 0, m.again+1
	}
	next.whole = next.whole && next.at == commitBatch
	if m.lost == 0 {
		return []batchModel{next}
	}
	repeated := next // the reply is lost: repeat from the step's beginning
	repeated.lost--
	repeated.told = false
	switch {
	case m.at < readSource:
		repeated.at = m.at / 2 * 2
	default:
		repeated.at = readSource
	}
	return []batchModel{next, repeated}
}

// sweepStep returns the state after a sweeper's next step.
func (d batchDesign) sweepStep(m batchModel, i int) (batchModel, bool) {
	next := m
	held := slices.ContainsFunc(m.piece[:], func(x piece) bool { return x.there && !x.live })
	switch at := m.sweep[i]; {
	case at == 0:
		if m.left == 0 || !held {
			return m, false
		}
		next.left--
		next.saw[i], next.sawRev[i], next.sweep[i] = m.gen, m.rev, 1
	case at == 1:
		next.sweep[i] = 2
		if m.gen != m.saw[i] || m.rev != m.sawRev[i] {
			next.sweep[i] = 0 // starts over
			next.left++
			if !held || m.committed {
				next.left--
			}
			break
		}
		next.gen++
		next.discarded = true
	default:
		p := at - 2
		if x := m.piece[p]; x.there && !x.live && x.gen <= m.saw[i] {
			next.piece[p] = piece{}
		}
		if next.sweep[i] = at + 1; next.sweep[i] == 2+pieces {
			next.sweep[i] = 0
		}
	}
	return next, true
}

// wrong returns the promise that a state breaks, or "".
func (m batchModel) wrong() string {
	if !m.told {
		return ""
	}
	for _, x := range m.piece {
		if !x.there || !x.live {
			return "the spawner learned that its batch is committed, but a piece is missing"
		}
	}
	return ""
}

// explore walks all interleavings.
func (d batchDesign) explore() (broken string, trace []batchModel, states, told int) {
	start := batchModel{left: sweeps, lost: 2}
	came := map[batchModel]batchModel{start: start}
	for todo := []batchModel{start}; len(todo) > 0; {
		m := todo[0]
		todo = todo[1:]
		if m.told {
			told++
		}
		if text := m.wrong(); text != "" {
			for m != start {
				trace = append(trace, m)
				m = came[m]
			}
			slices.Reverse(trace)
			return text, trace, len(came), told
		}
		for _, next := range d.steps(m) {
			if _, seen := came[next]; !seen {
				came[next] = m
				todo = append(todo, next)
			}
		}
	}
	return "", nil, len(came), told
}

// The implemented design commits a batch as a whole or not at all, in any order of steps, with sweepers at any of
// them.
func TestCountedCommitKeepsBatchesWhole(t *testing.T) {
	broken, trace, states, told := counting.explore()
	if broken != "" {
		t.Errorf("%s:\n%+v", broken, trace)
	}
	if states < 10_000 || told < 100 {
		t.Errorf("only %d states, in %d of which a batch is committed: the model does not move", states, told)
	}
	t.Logf("%d states", states)
}

// The rejected designs lose a piece, which shows that the check works.
func TestWeakerBatchDesignsFail(t *testing.T) {
	for d, name := range map[batchDesign]string{
		forgetful: "an insert that forgets a discard", unguarded: "a count that nothing guards",
		anyAge: "a count of pieces being deleted",
	} {
		broken, trace, states, _ := d.explore()
		if broken == "" {
			t.Errorf("%s has no violation in %d states", name, states)
		}
		t.Logf("%s, after %d states: %s, in %d steps", name, states, broken, len(trace))
	}
}
