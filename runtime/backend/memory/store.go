package memory

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A store holds the tasks of a Backend. mu guards all of it.
type store struct {
	mu         sync.Mutex
	start      time.Time // instant 0: when the store was first used
	seq        int64
	tasks      map[string]*record
	queues     map[string]*queue
	owners     map[string]*owner
	sets       map[string]*set // by source, which may not exist
	unfinished map[*set]struct{}
	slab       []record          // preallocated records
	attempts   []backend.Attempt // preallocated first attempts
	seed       maphash.Seed      // of the hashes of nonces

	check func(row int, from, to backend.Status) // called at each transition; for tests
}

func newStore() *store {
	return &store{
		tasks:      map[string]*record{},
		queues:     map[string]*queue{},
		owners:     map[string]*owner{},
		sets:       map[string]*set{},
		unfinished: map[*set]struct{}{},
		seed:       maphash.MakeSeed(),
	}
}

// never is an instant in the infinite future.
const never = math.MaxInt64

// A timestamp is one reading of the store's clock.
type timestamp struct {
	at   int64     // nanoseconds since the store was first used; steps of the wall clock don't affect it
	wall time.Time // for documents
	raw  time.Time
}

func (s *store) now() timestamp {
	raw := time.Now()
	if s.start.IsZero() {
		s.start = raw
	}
	return timestamp{int64(raw.Sub(s.start)), raw.UTC(), raw}
}

// instant converts t to an instant before never.
func (n timestamp) instant(t time.Time) int64 {
	return n.at + min(int64(t.Sub(n.raw)), never-1-n.at)
}

// clampTime returns t in the range and precision that documents keep.
func clampTime(t time.Time) time.Time { return instant.Time(instant.Of(t)) }

// setRunAt sets when a task is due.
func (r *record) setRunAt(t time.Time, now timestamp) {
	r.RunAt = clampTime(t)
	r.due = now.instant(r.RunAt)
}

// A record is a task and the store's own state of it.
type record struct {
	backend.Task
	seq   int64 // rises with age
	queue *queue

	due         int64 // RunAt
	deadline    int64 // never if there is none
	place       place
	gen         uint32 // incremented when the task leaves its place; index entries with an older gen are stale
	expiring    bool   // its queue's expiry has an entry for it
	needsHint   bool   // if it is ready: it is in needHint, not in hinted
	deleted     bool
	uncommitted bool  // a subtask that Spawn has not committed
	gateClosed  bool  // its gate is closed
	hints       int   // sent since it last began to wait
	hinted      int64 // when the last hint was sent

	claim   *claim // the claim that runs it, or nil
	claimed int    // index in its owner's running
	fanIn   bool   // set by the last claim
	reason  string
	settled bool   // the last claim was settled, with this nonce
	nonce   uint64 // its hash: one string per task would be work for the garbage collector

	children *set    // its subtasks
	siblings *set    // the set it belongs to
	root     *record // the root of its tree; nil for the root itself
	// Only for roots: the number of live tasks and unfinished sets in the tree, and the generation of its entry in
	// endedTrees. An uncommitted subtask is a root and counts as live.
	unfinished int
	endGen     uint32
}

// rootOf returns the root of the tree that r belongs to.
func (r *record) rootOf() *record {
	for r.root != nil {
		r = r.root
	}
	return r
}

// Insert implements backend.Store.
func (s *store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if err := backend.ValidateInsert(tasks); err != nil {
		return nil, err
	}
	stored := make([]backend.Task, len(tasks))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for i := range tasks {
		stored[i] = s.insertTask(&tasks[i], now).Head()
	}
	return stored, nil
}

// insertTask inserts a task (row 1) and returns it, or returns the existing task with its id or unique key.
func (s *store) insertTask(n *backend.NewTask, now timestamp) *record {
	if r := s.tasks[n.Task.ID]; r != nil {
		if n.Gated {
			s.touchBatch(&n.Task, now)
		}
		return r
	}
	q := s.queue(n.Task.Queue)
	if key := n.Task.UniqueKey; key != "" {
		if r := q.keys[key]; r != nil {
			return r
		}
	}
	if s.check != nil {
		s.check(1, "", n.Task.Status)
	}
	s.seq++
	r := s.newRecord()
	r.Task, r.seq, r.queue, r.deadline, r.unfinished = n.Task, s.seq, q, never, 1
	r.Created, r.Queue = now.wall, q.name
	switch {
	case n.Delay != 0:
		r.setDelay(n.Delay, now)
	case r.RunAt.IsZero():
		r.RunAt, r.due = now.wall, now.at
	default:
		r.setRunAt(r.RunAt, now)
	}
	if !r.Deadline.IsZero() {
		r.Deadline = clampTime(r.Deadline)
		r.deadline = now.instant(r.Deadline)
	}
	s.tasks[r.ID] = r
	q.tasks.add(r)
	if r.UniqueKey != "" {
		q.keys[r.UniqueKey] = r
	}
	if set := s.sets[r.ID]; set != nil {
		r.children, set.source, r.Spawned = set, r, set.rev > 0
	}
	if n.Gated {
		s.addUncommitted(r, now)
	}
	q.addWaiting(r, now.at)
	return r
}

// slabSize is how many records are allocated at once, about 4 KB. It halves the garbage collector's work in a large
// store. At worst, one remaining task keeps the memory of slabSize records.
const slabSize = 7

func (s *store) newRecord() *record {
	if len(s.slab) == 0 {
		s.slab = make([]record, slabSize)
	}
	r := &s.slab[0]
	s.slab = s.slab[1:]
	return r
}

// queue returns the queue of that name, creating it if needed.
func (s *store) queue(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = newQueue(name)
		s.queues[name] = q
	}
	return q
}

// Now implements backend.Store.
func (s *store) Now(ctx context.Context) (time.Time, error) {
	return time.Now().UTC(), checkContext(ctx)
}

// Get implements backend.Store.
func (s *store) Get(ctx context.Context, id string) (backend.Task, error) {
	if err := checkContext(ctx); err != nil {
		return backend.Task{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.tasks[id]
	if r == nil {
		return backend.Task{}, noTask(id)
	}
	return r.Task, nil
}

// Statuses implements backend.Store.
func (s *store) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string]backend.Status, len(ids))
	for _, id := range ids {
		if r := s.tasks[id]; r != nil {
			found[id] = r.Status
		}
	}
	return found, nil
}

func noTask(id string) error { return backend.Errorf(backend.ErrNotFound, "no task %q", id) }

// deleteTask removes a task from the store and all indexes.
func (s *store) deleteTask(r *record) {
	r.deleted = true
	delete(s.tasks, r.ID)
	r.queue.releaseKey(r)
	r.queue.removeWaiting(r, false)
	r.removeExpiry()
	r.queue.tasks.countDeleted(r)
	r.queue.removeFailed(r)
	if r.siblings != nil {
		r.siblings.tasks.countDeleted(r)
	}
	if r.children != nil {
		s.removeSource(r.children)
	}
	r.Payload, r.Result, r.Progress, r.Log = nil, nil, nil, nil // its slab may outlive it
	r.Metadata, r.Error, r.Attempts = nil, nil, nil
}

// removeExpiry marks the task's entry in its queue's expiry as stale.
func (r *record) removeExpiry() {
	if r.expiring {
		r.expiring = false
		r.queue.expiry.markStale()
	}
}
