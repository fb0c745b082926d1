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

// A store keeps the tasks of a world.
type store struct {
	mu         sync.Mutex
	start      time.Time // instant 0: the first use
	seq        int64
	tasks      map[string]*record
	queues     map[string]*queue
	owners     map[string]*owner
	sets       map[string]*set // by source, which may not exist
	unfinished map[*set]struct{}
	spare      []record
	seed       maphash.Seed // of the hashes of nonces

	check func(row int, from, to backend.Status) // for tests; sees every transition
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

// never is the instant of what doesn't come.
const never = math.MaxInt64

// A tick is one reading of the store's clock.
type tick struct {
	at   int64     // nanoseconds since the store's first use; no step of the clock moves it
	wall time.Time // for documents
	raw  time.Time
}

func (s *store) now() tick {
	raw := time.Now()
	if s.start.IsZero() {
		s.start = raw
	}
	return tick{int64(raw.Sub(s.start)), raw.UTC(), raw}
}

// instant is when t will be: before never.
func (n tick) instant(t time.Time) int64 {
	return n.at + min(int64(t.Sub(n.raw)), never-1-n.at)
}

// kept is a time as a document keeps it.
func kept(t time.Time) time.Time { return instant.Time(instant.Of(t)) }

// runAt sets when a task is due.
func (r *record) runAt(t time.Time, now tick) {
	r.RunAt = kept(t)
	r.due = now.instant(r.RunAt)
}

// A record is a task with what only the store knows of it.
type record struct {
	backend.Task
	seq   int64 // age
	queue *queue

	due      int64 // RunAt
	deadline int64 // never where there is none
	place    place
	stay     uint32 // raised when it leaves its place: entries with another are stale
	expiring bool   // its queue's expiry has an entry for it
	owed     bool   // where it is ready: among the owed ones, not the hinted ones
	gone     bool   // deleted
	held     bool   // a subtask not committed by Spawn
	closed   bool   // its gate
	hints    int    // sent since it waits
	hinted   int64  // the last one

	claim    *claim // that runs it
	claimed  int    // index in the owner's list
	fanIn    bool   // said by the last claim
	stopping bool
	reason   string
	settled  bool   // the last claim ended by a settle with this nonce
	nonce    uint64 // its hash: a string more a task is work for the garbage collector

	kids *set    // its subtasks
	of   *set    // whose subtask it is
	root *record // of its family; nil for itself
	// Of a root: the live tasks and unfinished sets of its family, and the generation of its entries in ended. A subtask
	// that is not committed is a root, and counts as live.
	open    int
	endings uint32
}

// family returns the root of r's family.
func (r *record) family() *record {
	for r.root != nil {
		r = r.root
	}
	return r
}

// Insert implements backend.Store.
func (s *store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if err := alive(ctx); err != nil {
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
		stored[i] = s.insert(&tasks[i], now).Head()
	}
	return stored, nil
}

// insert adds a task (row 1), or finds the one that is there instead.
func (s *store) insert(n *backend.NewTask, now tick) *record {
	if r := s.tasks[n.Task.ID]; r != nil {
		if n.Gated {
			s.renew(&n.Task, now)
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
	r.Task, r.seq, r.queue, r.deadline, r.open = n.Task, s.seq, q, never, 1
	r.Created, r.Queue = now.wall, q.name
	switch {
	case n.Delay != 0:
		r.delay(n.Delay, now)
	case r.RunAt.IsZero():
		r.RunAt, r.due = now.wall, now.at
	default:
		r.runAt(r.RunAt, now)
	}
	if !r.Deadline.IsZero() {
		r.Deadline = kept(r.Deadline)
		r.deadline = now.instant(r.Deadline)
	}
	s.tasks[r.ID] = r
	q.roll.add(r)
	if r.UniqueKey != "" {
		q.keys[r.UniqueKey] = r
	}
	if k := s.sets[r.ID]; k != nil {
		r.kids, k.source, r.Spawned = k, r, k.rev > 0
	}
	if n.Gated {
		s.hold(r, now)
	}
	q.enter(r, now.at)
	return r
}

// slab is how many records are allocated at once: some 4 KB. It halves the garbage collector's work in a large store, and
// at worst one task that stays keeps the room of so many.
const slab = 7

func (s *store) newRecord() *record {
	if len(s.spare) == 0 {
		s.spare = make([]record, slab)
	}
	r := &s.spare[0]
	s.spare = s.spare[1:]
	return r
}

// queue returns a queue, a new one if need be.
func (s *store) queue(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = newQueue(name)
		s.queues[name] = q
	}
	return q
}

// Now implements backend.Store.
func (s *store) Now(ctx context.Context) (time.Time, error) { return time.Now().UTC(), alive(ctx) }

// Get implements backend.Store.
func (s *store) Get(ctx context.Context, id string) (backend.Task, error) {
	if err := alive(ctx); err != nil {
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

func noTask(id string) error { return backend.Errorf(backend.ErrNotFound, "no task %q", id) }

// forget deletes a task.
func (s *store) forget(r *record) {
	r.gone = true
	delete(s.tasks, r.ID)
	r.queue.free(r)
	r.queue.leave(r, false)
	r.expired()
	r.queue.roll.drop(r)
	if r.of != nil {
		r.of.roll.drop(r)
	}
	r.Payload, r.Result, r.Progress, r.Log = nil, nil, nil, nil // its slab may live on
}

// expired takes a task that has ended or is gone out of its queue's expiry.
func (r *record) expired() {
	if r.expiring {
		r.expiring = false
		r.queue.expiry.lost()
	}
}
