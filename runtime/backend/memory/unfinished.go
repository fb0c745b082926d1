package memory

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// updateUnfinished updates s.unfinished, or deletes the set if it is empty. It is called after each change of a set.
func (s *store) updateUnfinished(k *set) {
	if len(k.tasks.list) == k.tasks.deleted && k.rev == 0 && !k.hasDiscarded() {
		delete(s.sets, k.id)
		if k.source != nil {
			k.source.children = nil
		}
	}
	if k.isUnfinished() {
		s.unfinished[k] = struct{}{}
	} else {
		delete(s.unfinished, k)
	}
}

// isUnfinished reports whether appendUnfinished would find work.
func (k *set) isUnfinished() bool {
	if k.uncommitted > 0 {
		return true
	}
	if k.source == nil || k.rev == 0 {
		return false
	}
	status := k.source.Status
	return k.closedBatches > 0 && status == backend.StatusSuccess || !k.finished && k.canFinish() ||
		k.live > k.stopping && (k.failedFast != never || status == backend.StatusFailed || status == backend.StatusStopped)
}

// hasDiscarded reports whether a batch of an existing source was discarded.
func (k *set) hasDiscarded() bool {
	if k.source == nil {
		return false
	}
	for _, b := range k.batches {
		if b.discarded {
			return true
		}
	}
	return false
}

// appendUnfinished appwork the unfinished work of a set.
func (k *set) appendUnfinished(to []backend.UnfinishedSince) []backend.UnfinishedSince {
	add := func(what backend.UnfinishedKind, batch string, since int64) {
		to = append(to, backend.UnfinishedSince{
			Unfinished: backend.Unfinished{What: what, Source: k.id, Batch: batch}, Since: since,
		})
	}
	if k.uncommitted > 0 {
		for key, b := range k.batches {
			if len(b.uncommitted) > 0 {
				add(backend.UnfinishedBatch, key, b.since)
			}
		}
	}
	if k.source == nil || k.rev == 0 {
		return to
	}
	status := k.source.Status
	if k.closedBatches > 0 && status == backend.StatusSuccess {
		add(backend.UnfinishedGate, "", k.sourceEnded)
	}
	if !k.finished && k.canFinish() {
		add(backend.UnfinishedSet, "", max(k.sourceEnded, k.lastEnded))
	}
	if k.live > k.stopping {
		since := k.failedFast
		if status == backend.StatusFailed || status == backend.StatusStopped {
			since = min(since, k.sourceEnded)
		}
		if since != never {
			add(backend.UnfinishedSubtasks, "", since)
		}
	}
	return to
}

// Unfinished implements backend.Store.
func (s *store) Unfinished(ctx context.Context, age time.Duration, max int) ([]backend.Unfinished, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var work []backend.UnfinishedSince
	for k := range s.unfinished {
		work = k.appendUnfinished(work)
	}
	for name, q := range s.queues {
		if since := q.overdueSince(now.at); since != never {
			work = append(work, backend.UnfinishedSince{
				Unfinished: backend.Unfinished{What: backend.UnfinishedOverdue, Queue: name}, Since: since,
			})
		}
	}
	for name, o := range s.owners {
		if !o.expired || len(o.running) == 0 {
			continue
		}
		since := int64(never)
		for _, r := range o.running {
			since = min(since, now.at-int64(now.wall.Sub(r.Started)))
		}
		work = append(work, backend.UnfinishedSince{
			Unfinished: backend.Unfinished{What: backend.UnfinishedClaims, Owner: name, Count: o.count}, Since: since,
		})
	}
	return backend.OldestUnfinished(work, now.at, age, max), nil
}
