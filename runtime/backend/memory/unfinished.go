package memory

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// review notes whether something of a set is to be done by whoever changed it. It is called after each change.
func (s *store) review(k *set) {
	if len(k.roll.list) == k.roll.gone && k.rev == 0 && !k.remembers() {
		delete(s.sets, k.id)
		if k.source != nil {
			k.source.kids = nil
		}
	}
	if k.isLoose() {
		s.unfinished[k] = struct{}{}
	} else {
		delete(s.unfinished, k)
	}
}

// isLoose says whether ends finds anything.
func (k *set) isLoose() bool {
	if k.held > 0 {
		return true
	}
	if k.source == nil || k.rev == 0 {
		return false
	}
	status := k.source.Status
	return k.shut > 0 && status == backend.StatusSuccess || !k.finished && k.complete() ||
		k.live > k.stopping && (k.failedFast != never || status == backend.StatusFailed || status == backend.StatusStopped)
}

// remembers says whether a batch of a live source was discarded.
func (k *set) remembers() bool {
	if k.source == nil || k.source.gone {
		return false
	}
	for _, b := range k.batches {
		if b.discarded {
			return true
		}
	}
	return false
}

// ends appends the unfinished work of a set.
func (k *set) ends(to []backend.UnfinishedSince) []backend.UnfinishedSince {
	add := func(what backend.UnfinishedKind, batch string, since int64) {
		to = append(to, backend.UnfinishedSince{Unfinished: backend.Unfinished{What: what, Source: k.id, Batch: batch}, Since: since})
	}
	if k.held > 0 {
		for key, b := range k.batches {
			if len(b.held) > 0 {
				add(backend.UnfinishedBatch, key, b.since)
			}
		}
	}
	if k.source == nil || k.rev == 0 {
		return to
	}
	status := k.source.Status
	if k.shut > 0 && status == backend.StatusSuccess {
		add(backend.UnfinishedGate, "", k.sourceEnded)
	}
	if !k.finished && k.complete() {
		add(backend.UnfinishedSet, "", max(k.sourceEnded, k.quiet))
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
	if err := alive(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var ends []backend.UnfinishedSince
	for k := range s.unfinished {
		ends = k.ends(ends)
	}
	for name, q := range s.queues {
		if since := q.lateSince(now.at); since != never {
			ends = append(ends, backend.UnfinishedSince{Unfinished: backend.Unfinished{What: backend.UnfinishedOverdue, Queue: name}, Since: since})
		}
	}
	return backend.OldestUnfinished(ends, now.at, age, max), nil
}
