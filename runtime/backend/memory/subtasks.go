package memory

import (
	"context"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// A set is the subtasks of one source. Subtasks that Spawn has not committed don't count as live, nor in counts.
type set struct {
	id            string
	source        *record  // nil if it doesn't exist
	sourceEnded   int64    // when the source's own run ended
	tasks         taskList // all subtasks, including uncommitted ones
	batches       map[string]*batch
	committed     int // committed batches
	rev           int // number of commits
	live          int // committed subtasks that have not ended
	stopping      int // live subtasks that were requested to stop
	uncommitted   int // uncommitted subtasks
	closedBatches int // committed batches whose gate is closed
	counts        backend.SubtaskCounts
	lastEnded     int64 // when the last subtask ended, or an empty batch was committed
	failedFast    int64 // when a subtask with policy FailFast failed, or never
	finished      bool
	done          bool // the task that runs SubtasksDone was inserted
}

// A batch is the subtasks of one call to Subtasks.
type batch struct {
	committed   bool
	discarded   bool      // while the source existed, and not inserted again since
	uncommitted []*record // tasks not committed yet
	since       int64     // the last Insert, even of a task that existed
	gated       []*record // committed tasks whose gate is closed
}

// addUncommitted adds a gated subtask to its batch.
func (s *store) addUncommitted(r *record, now timestamp) {
	k := s.sets[r.Source]
	if k == nil {
		k = s.newSet(r.Source, s.tasks[r.Source])
	}
	b := k.batch(r.Batch)
	r.uncommitted, r.Uncommitted, r.gateClosed, r.siblings = true, true, true, k
	b.uncommitted = append(b.uncommitted, r)
	k.uncommitted++
	b.since, b.discarded = now.at, false
	k.tasks.add(r)
	s.updateUnfinished(k)
}

func (s *store) newSet(id string, source *record) *set {
	k := &set{id: id, source: source, batches: map[string]*batch{}, failedFast: never}
	s.sets[id] = k
	if source != nil {
		source.children = k
	}
	return k
}

// removeSource removes the deleted source of a set. Discard deletes a source before the uncommitted subtasks below it,
// and a new task with the same id may commit these. Which batches were discarded doesn't concern that task.
func (s *store) removeSource(k *set) {
	k.source = nil
	for key, b := range k.batches {
		if b.discarded = false; len(b.uncommitted) == 0 {
			delete(k.batches, key)
		}
	}
	s.updateUnfinished(k)
}

func (k *set) batch(key string) *batch {
	b := k.batches[key]
	if b == nil {
		b = &batch{}
		k.batches[key] = b
	}
	return b
}

// touchBatch records that an existing subtask was inserted again. The age of a batch is that of its last Insert.
func (s *store) touchBatch(t *backend.Task, now timestamp) {
	if k := s.sets[t.Source]; k != nil && k.batches[t.Batch] != nil {
		k.batches[t.Batch].since = now.at
	}
}

// countEnded counts a committed subtask that has ended.
func (k *set) countEnded(r *record, at int64) {
	k.lastEnded = at
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
	if err := checkContext(ctx); err != nil {
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
	if src.uncommitted {
		return sp.ErrorUncommitted()
	}
	now := s.now()
	if err := s.commitSpawn(src, sp, now); err != nil {
		return err
	}
	k := src.children
	if sp.Now || src.Status == backend.StatusSuccess {
		k.openGate(k.batch(sp.Batch), now)
	}
	s.updateUnfinished(k)
	return nil
}

// commitSpawn commits a batch, unless it is committed completely.
func (s *store) commitSpawn(src *record, sp backend.Spawn, now timestamp) error {
	k := src.children
	if k != nil && k.isCommitted(sp.Batch) {
		if n := s.countCommitted(sp); n < sp.Count {
			return sp.ErrorPartial(n)
		}
		return nil
	}
	switch {
	case k != nil && k.finished || src.Status == backend.StatusFailed || src.Status == backend.StatusStopped:
		return sp.ErrorRefused()
	case k != nil && k.committed >= backend.MaxBatches && !k.isPartlyCommitted(sp.Batch):
		return sp.ErrorFull()
	case k != nil && k.batches[sp.Batch] != nil && k.batches[sp.Batch].discarded:
		return sp.ErrorDiscarded()
	}
	if sp.Count > 0 {
		stored := 0
		if k != nil && k.batches[sp.Batch] != nil {
			stored = len(k.batches[sp.Batch].uncommitted)
		}
		if k != nil && k.isPartlyCommitted(sp.Batch) {
			stored += s.countCommitted(sp)
		}
		if stored != sp.Count {
			return sp.ErrorPartial(stored)
		}
	}
	if k == nil {
		k = s.newSet(src.ID, src)
	}
	s.commitBatch(k, k.batch(sp.Batch), now)
	return nil
}

// countCommitted returns how many of the first sp.Count tasks of a batch are committed.
func (s *store) countCommitted(sp backend.Spawn) int {
	n := 0
	for i := range sp.Count {
		r := s.tasks[backend.SubtaskID(sp.Source, sp.Batch, i)]
		if r != nil && r.Source == sp.Source && r.Batch == sp.Batch && !r.uncommitted {
			n++
		}
	}
	return n
}

// isPartlyCommitted reports whether a part of a batch, or all of it, is committed.
func (k *set) isPartlyCommitted(key string) bool {
	b := k.batches[key]
	return b != nil && b.committed
}

// isCommitted reports whether a batch is committed completely.
func (k *set) isCommitted(key string) bool {
	b := k.batches[key]
	return b != nil && b.committed && len(b.uncommitted) == 0
}

// commitBatch makes the tasks of a batch part of the set.
func (s *store) commitBatch(k *set, b *batch, now timestamp) {
	root := k.source.rootOf()
	if k.rev == 0 {
		k.lastEnded = now.at
		if k.source.Status.Final() {
			k.sourceEnded = max(k.sourceEnded, now.at)
		}
		s.addUnfinished(root, 1)
	}
	k.rev++
	k.source.Spawned = true
	if !b.committed {
		k.committed++
	}
	k.uncommitted -= len(b.uncommitted)
	if len(b.uncommitted) > 0 && len(b.gated) == 0 {
		k.closedBatches++
	}
	for _, r := range b.uncommitted {
		r.uncommitted, r.Uncommitted, r.root = false, false, root
		k.counts.Total++
		b.gated = append(b.gated, r)
		if r.Status.Final() {
			k.countEnded(r, now.at)
			continue
		}
		r.Gated = true
		k.live++
		s.addUnfinished(root, 1)
	}
	b.uncommitted, b.committed = nil, true
}

// openGate opens the gate of a committed batch and returns the tasks that it held back.
func (k *set) openGate(b *batch, now timestamp) []*record {
	opened := b.gated
	if len(opened) > 0 {
		k.closedBatches--
	}
	b.gated = nil
	for _, r := range opened {
		r.gateClosed, r.Gated = false, false
		if !r.deleted && !r.Status.Final() {
			r.queue.addWaiting(r, now.at)
		}
	}
	return opened
}

// Discard implements backend.Store.
func (s *store) Discard(ctx context.Context, source, key string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.sets[source]
	if k == nil || k.batches[key] == nil {
		return nil
	}
	b := k.batches[key]
	b.discarded = b.discarded || len(b.uncommitted) > 0 && k.source != nil
	for _, r := range b.uncommitted {
		s.deleteTask(r)
	}
	k.uncommitted -= len(b.uncommitted)
	b.uncommitted = nil
	s.updateUnfinished(k)
	return nil
}

// removeUncommitted removes a deleted subtask from its batch. It marks the batch as discarded, since it is incomplete.
func (s *store) removeUncommitted(r *record) {
	k := r.siblings
	b := k.batches[r.Batch]
	if last := len(b.uncommitted) - 1; b.uncommitted[last] == r { // the common case: the youngest is deleted first
		b.uncommitted = b.uncommitted[:last]
	} else {
		b.uncommitted = slices.DeleteFunc(b.uncommitted, func(other *record) bool { return other == r })
	}
	b.discarded = b.discarded || k.source != nil
	k.uncommitted--
	s.updateUnfinished(k)
}

// Open implements backend.Store.
func (s *store) Open(ctx context.Context, source string) ([]string, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.tasks[source]
	if src == nil || src.children == nil || src.children.closedBatches == 0 || src.Status != backend.StatusSuccess {
		return nil, nil
	}
	now := s.now()
	var queues []string
	for _, b := range src.children.batches {
		for _, r := range src.children.openGate(b, now) {
			if !slices.Contains(queues, r.Queue) {
				queues = append(queues, r.Queue)
			}
		}
	}
	s.updateUnfinished(src.children)
	return queues, nil
}

// Finish implements backend.Store (row 12).
func (s *store) Finish(ctx context.Context, source string) (bool, string, error) {
	if err := checkContext(ctx); err != nil {
		return false, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.tasks[source]
	if src == nil || src.children == nil {
		return false, "", nil
	}
	k := src.children
	if !k.finished && !k.canFinish() {
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
			k.openGate(b, now) // no live task is behind them
		}
		counts := k.counts
		counts.Finished = now.wall
		src.Subtasks = &counts
		s.removeUnfinished(src.rootOf(), now)
		s.updateUnfinished(k)
	}
	return true, queue, nil
}

// canFinish reports whether the source and all subtasks have ended.
func (k *set) canFinish() bool {
	return k.rev > 0 && k.live == 0 && k.source != nil && k.source.Status.Final()
}

func doneID(source string) string { return source + "/done" }

// insertDone inserts the task that runs SubtasksDone, or returns the existing one.
func (s *store) insertDone(src *record, now timestamp) *record {
	id := doneID(src.ID)
	if r := s.tasks[id]; r != nil {
		return r
	}
	r := s.insertTask(&backend.NewTask{Task: backend.Task{
		ID: id, Queue: src.Queue, Status: backend.StatusWaiting, Weight: src.Weight,
		Payload: src.Payload, Fingerprint: src.Fingerprint, DoneOf: src.ID, Trace: src.Trace, Metadata: src.Metadata,
	}}, now)
	r.root = src.rootOf()
	s.addUnfinished(r.root, 1)
	src.children.done = true
	return r
}
