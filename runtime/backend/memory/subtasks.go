package memory

import (
	"context"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// A set is the subtasks of one source. What says "live" or "counts" means those that Spawn has committed.
type set struct {
	id          string
	source      *record // nil where there is none
	sourceEnded int64
	roll        roll // all of them, in batches not committed too
	batches     map[string]*batch
	committed   int // of the batches
	rev         int // commits
	live        int
	stopping    int // of the live ones
	held        int // tasks not committed
	shut        int // committed batches behind a closed gate
	counts      backend.SubtaskCounts
	quiet       int64 // when the last one ended, or an empty batch was committed
	failedFast  int64 // when one failed whose failure stops its siblings; never
	finished    bool
	done        bool // the task that runs SubtasksDone was inserted
}

// A batch is one call to Subtasks.
type batch struct {
	committed bool
	discarded bool      // while the source existed, and nothing was inserted since
	held      []*record // not committed
	since     int64     // the last insert, also of what was there
	closed    []*record // committed, their gate closed
}

// hold adds a gated subtask.
func (s *store) hold(r *record, now tick) {
	k := s.sets[r.Source]
	if k == nil {
		k = s.newSet(r.Source, s.tasks[r.Source])
	}
	b := k.batch(r.Batch)
	r.held, r.closed, r.of = true, true, k
	b.held = append(b.held, r)
	k.held++
	b.since, b.discarded = now.at, false
	k.roll.add(r)
	s.review(k)
}

func (s *store) newSet(id string, source *record) *set {
	k := &set{id: id, source: source, batches: map[string]*batch{}, failedFast: never}
	s.sets[id] = k
	if source != nil {
		source.kids = k
	}
	return k
}

func (k *set) batch(key string) *batch {
	b := k.batches[key]
	if b == nil {
		b = &batch{}
		k.batches[key] = b
	}
	return b
}

// renew notes that a subtask was inserted again. Its batch is as old as its last insert.
func (s *store) renew(t *backend.Task, now tick) {
	if k := s.sets[t.Source]; k != nil && k.batches[t.Batch] != nil {
		k.batches[t.Batch].since = now.at
	}
}

// ended counts a committed subtask that has ended.
func (k *set) ended(r *record, at int64) {
	k.quiet = at
	switch r.Status {
	case backend.StatusSuccess:
		k.counts.Succeeded++
	case backend.StatusFailed:
		k.counts.Failed++
		if r.OnFailure == backend.FailFast {
			k.failedFast = min(k.failedFast, at)
		}
	case backend.StatusStopped:
		k.counts.Stopped++
	}
}

// Spawn implements backend.Store.
func (s *store) Spawn(ctx context.Context, sp backend.Spawn) error {
	if err := alive(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.tasks[sp.Source]
	if src == nil {
		return noTask(sp.Source)
	}
	if sp.Stale(src.Status, src.Fence) {
		return sp.ErrorStale()
	}
	now := s.now()
	if err := s.spawn(src, sp, now); err != nil {
		return err
	}
	k := src.kids
	if sp.Now || src.Status == backend.StatusSuccess {
		k.open(k.batch(sp.Batch), now)
	}
	s.review(k)
	return nil
}

// spawn commits a batch, unless it is committed as a whole already.
func (s *store) spawn(src *record, sp backend.Spawn, now tick) error {
	k := src.kids
	if k != nil && k.has(sp.Batch) {
		if n := s.committed(sp); n < sp.Count {
			return sp.ErrorPartial(n)
		}
		return nil
	}
	switch {
	case k != nil && k.finished || src.Status == backend.StatusFailed || src.Status == backend.StatusStopped:
		return sp.ErrorRefused()
	case k != nil && k.committed >= backend.MaxBatches && !k.contains(sp.Batch):
		return sp.ErrorFull()
	case k != nil && k.batches[sp.Batch] != nil && k.batches[sp.Batch].discarded:
		return sp.ErrorDiscarded()
	}
	if sp.Count > 0 {
		stored := 0
		if k != nil && k.batches[sp.Batch] != nil {
			stored = len(k.batches[sp.Batch].held)
		}
		if k != nil && k.contains(sp.Batch) {
			stored += s.committed(sp)
		}
		if stored != sp.Count {
			return sp.ErrorPartial(stored)
		}
	}
	if k == nil {
		k = s.newSet(src.ID, src)
	}
	s.commit(k, k.batch(sp.Batch), now)
	return nil
}

// committed counts the tasks of a batch that are committed, up to the number that sp says.
func (s *store) committed(sp backend.Spawn) int {
	n := 0
	for i := range sp.Count {
		if r := s.tasks[backend.SubtaskID(sp.Source, sp.Batch, i)]; r != nil && r.Source == sp.Source && r.Batch == sp.Batch && !r.held {
			n++
		}
	}
	return n
}

// contains reports whether a part of a batch, or all of it, is committed.
func (k *set) contains(key string) bool {
	b := k.batches[key]
	return b != nil && b.committed
}

// has says whether a batch is committed as a whole.
func (k *set) has(key string) bool {
	b := k.batches[key]
	return b != nil && b.committed && len(b.held) == 0
}

// commit makes a batch part of the set.
func (s *store) commit(k *set, b *batch, now tick) {
	root := k.source.family()
	if k.rev == 0 {
		k.quiet = now.at
		if k.source.Status.Final() {
			k.sourceEnded = max(k.sourceEnded, now.at)
		}
		s.reopen(root, 1)
	}
	k.rev++
	k.source.Spawned = true
	if !b.committed {
		k.committed++
	}
	k.held -= len(b.held)
	if len(b.held) > 0 && len(b.closed) == 0 {
		k.shut++
	}
	for _, r := range b.held {
		r.held, r.root = false, root
		k.counts.Total++
		b.closed = append(b.closed, r)
		if r.Status.Final() {
			s.reopen(root, r.open-1)
			k.ended(r, now.at)
			continue
		}
		r.Gated = true
		k.live++
		s.reopen(root, r.open)
	}
	b.held, b.committed = nil, true
}

// open opens the gate of a committed batch and returns what was behind it.
func (k *set) open(b *batch, now tick) []*record {
	opened := b.closed
	if len(opened) > 0 {
		k.shut--
	}
	b.closed = nil
	for _, r := range opened {
		r.closed, r.Gated = false, false
		if !r.gone && !r.Status.Final() {
			r.queue.enter(r, now.at)
		}
	}
	return opened
}

// Discard implements backend.Store.
func (s *store) Discard(ctx context.Context, source, key string) error {
	if err := alive(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.sets[source]
	if k == nil || k.batches[key] == nil {
		return nil
	}
	b := k.batches[key]
	b.discarded = b.discarded || len(b.held) > 0 && k.source != nil
	for _, r := range b.held {
		s.forget(r)
	}
	k.held -= len(b.held)
	b.held = nil
	s.review(k)
	return nil
}

// unhold takes a subtask that was deleted out of its batch, which is discarded then: it can't be committed without it.
func (s *store) unhold(r *record) {
	k := r.of
	b := k.batches[r.Batch]
	if last := len(b.held) - 1; b.held[last] == r { // the youngest goes first
		b.held = b.held[:last]
	} else {
		b.held = slices.DeleteFunc(b.held, func(other *record) bool { return other == r })
	}
	b.discarded = b.discarded || k.source != nil
	k.held--
	s.review(k)
}

// Open implements backend.Store.
func (s *store) Open(ctx context.Context, source string) ([]string, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.tasks[source]
	if src == nil || src.kids == nil || src.kids.shut == 0 || src.Status != backend.StatusSuccess {
		return nil, nil
	}
	now := s.now()
	var queues []string
	for _, b := range src.kids.batches {
		for _, r := range src.kids.open(b, now) {
			if !slices.Contains(queues, r.Queue) {
				queues = append(queues, r.Queue)
			}
		}
	}
	s.review(src.kids)
	return queues, nil
}

// Finish implements backend.Store (row 12).
func (s *store) Finish(ctx context.Context, source string) (bool, string, error) {
	if err := alive(ctx); err != nil {
		return false, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.tasks[source]
	if src == nil || src.kids == nil {
		return false, "", nil
	}
	k := src.kids
	if !k.finished && !k.complete() {
		return false, "", nil
	}
	now := s.now()
	var queue string
	if src.Status == backend.StatusSuccess && src.fanIn && (!k.done || s.tasks[doneID(source)] != nil) {
		if r := s.insertDone(src, now); r.Status != backend.StatusRunning && !r.Status.Final() {
			queue = src.Queue
		}
	}
	if !k.finished {
		k.finished = true
		for _, b := range k.batches {
			k.open(b, now) // nothing that lives is behind their gates
		}
		counts := k.counts
		counts.Finished = now.wall
		src.Subtasks = &counts
		s.closeOne(src.family(), now)
		s.review(k)
	}
	return true, queue, nil
}

// complete says whether nothing of the set is to come and it can be finished.
func (k *set) complete() bool {
	return k.rev > 0 && k.live == 0 && k.source != nil && k.source.Status.Final()
}

func doneID(source string) string { return source + "/done" }

// insertDone makes the task that runs SubtasksDone, or finds it.
func (s *store) insertDone(src *record, now tick) *record {
	id := doneID(src.ID)
	if r := s.tasks[id]; r != nil {
		return r
	}
	r := s.insert(&backend.NewTask{Task: backend.Task{
		ID: id, Queue: src.Queue, Status: backend.StatusWaiting, Weight: src.Weight,
		Payload: src.Payload, Fingerprint: src.Fingerprint, DoneOf: src.ID,
	}}, now)
	r.root = src.family()
	s.reopen(r.root, 1)
	src.kids.done = true
	return r
}
