package embedded

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
	"github.com/afgen/afgen/runtime/backend/internal/surplus"
)

// A store implements backend.Store.
type store struct {
	db    *database
	peers *registry
	ended surplus.Counts // of trees, for Purge
}

// Insert implements backend.Store.
func (s *store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if err := backend.ValidateInsert(tasks); err != nil {
		return nil, err
	}
	return write(ctx, s.db.writer, func(tx *tx) ([]backend.Task, error) {
		stored := make([]backend.Task, len(tasks))
		var last touchedBatch
		for i := range tasks {
			r, isNew, err := tx.insertTask(&tasks[i])
			if err != nil {
				return nil, err
			}
			stored[i] = r.Head()
			if !tasks[i].Gated {
				continue
			}
			touch := tx.touchExistingBatch
			if isNew {
				touch = tx.touchBatch
			}
			if t := (touchedBatch{batchKey{tasks[i].Task.Source, tasks[i].Task.Batch}, isNew}); t != last {
				if err := touch(t.batchKey); err != nil {
					return nil, err
				}
				last = t
			}
		}
		return stored, nil
	})
}

// A touchedBatch is a batch and whether an insert added a new task to it.
type touchedBatch struct {
	batchKey
	isNew bool
}

// insertTask inserts a task (row 1), or returns the existing one with its id, or else with its unique key.
func (t *tx) insertTask(n *backend.NewTask) (r *record, isNew bool, err error) {
	seq, err := t.nextSeq()
	if err != nil {
		return nil, false, err
	}
	r = &record{Task: n.Task, seq: seq, status: number(n.Task.Status)}
	due := t.now
	switch {
	case n.Delay != 0:
		due = instant.Add(due, n.Delay)
	case !r.RunAt.IsZero():
		due = instant.Of(r.RunAt)
	}
	gate, place := gateOpen, t.placeOf(due)
	if n.Gated {
		gate, place, r.Uncommitted = uncommitted, notWaiting, true
	}
	r.Created, r.RunAt = instant.Time(seq), instant.Time(due)
	added, err := t.execCount(`INSERT INTO task (seq, id, queue, status, weight, place, gate, due, deadline, unique_key,
			source, batch, on_failure, done_of, retry_of, fingerprint, timeout, trace, allow, retries)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		seq, r.ID, r.Queue, r.status, r.Weight, place, gate, due, nullTime(r.Deadline), null(r.UniqueKey), null(r.Source),
		r.Batch,
		string(r.OnFailure), r.DoneOf, r.RetryOf, r.Fingerprint, int64(r.Timeout), r.Trace,
		nullJSON(len(r.Allow), r.Allow), nullInt(r.Retries))
	if err != nil {
		return nil, false, err
	}
	if added == 0 {
		r, err = t.existingTask(n)
		return r, false, err
	}
	t.countTransition(r.Queue, none, r.status)
	return r, true, t.exec("INSERT INTO payload (seq, payload, metadata) VALUES (?, ?, ?)", seq, blob(r.Payload),
		nullJSON(len(r.Metadata), r.Metadata))
}

// existingTask returns the head of the task that prevented an insert.
func (t *tx) existingTask(n *backend.NewTask) (*record, error) {
	found, err := t.heads("WHERE id = ?", n.Task.ID)
	if len(found) == 0 && err == nil {
		found, err = t.heads("WHERE queue = ? AND unique_key = ? AND unique_key IS NOT NULL AND status < 4", n.Task.Queue,
			n.Task.UniqueKey)
	}
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, backend.Errorf(backend.ErrInternal, "task %q was not inserted, but no conflicting task exists", n.Task.ID)
	}
	return found[0], nil
}

// placeOf returns the place of a waiting task whose gate is open.
func (t *tx) placeOf(due int64) int {
	if due > t.now {
		return delayed
	}
	return inReady
}
