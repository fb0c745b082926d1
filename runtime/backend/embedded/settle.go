package embedded

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// Settle implements backend.Store. The fence alone identifies the claim. The nonce tells a repeated settle from one by
// another process.
func (s *store) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	if err := backend.ValidateSettle(settles); err != nil {
		return nil, err
	}
	ids := make([]string, len(settles))
	for i, e := range settles {
		ids[i] = e.ID
	}
	return write(ctx, s.db.writer, func(tx *tx) ([]backend.Settled, error) {
		rows, err := tx.rows("id IN (SELECT value FROM json_each(?))", list(ids))
		if err != nil {
			return nil, err
		}
		byID := make(map[string]*row, len(rows))
		for _, r := range rows {
			byID[r.id] = r
		}
		results := make([]backend.Settled, len(settles))
		for i := range settles {
			if results[i], err = tx.settleTask(byID[settles[i].ID], &settles[i]); err != nil {
				return nil, err
			}
		}
		return results, nil
	})
}

// settleTask ends one claim. r is nil if there is no such task.
func (t *tx) settleTask(r *row, e *backend.Settle) (backend.Settled, error) {
	stop := e.To == backend.StatusStopped
	switch {
	case r == nil || r.fence != e.Fence:
		return backend.SettledLost, nil
	case statuses[r.status] != backend.StatusRunning:
		if r.settled && r.nonce == e.Nonce {
			return r.settledResult(), nil
		}
		return backend.SettledLost, nil
	case r.stopping && !stop:
		return backend.SettledStopping, nil
	case stop && !r.stopping:
		return backend.SettledLost, nil // no stop was requested
	}
	r.settled, r.nonce, r.trace = true, e.Nonce, e.Trace
	if e.Log != nil {
		r.log = strings.Join(e.Log, "\n")
	}
	if err := t.notePayload(r, e.Payload); err != nil {
		return 0, err
	}
	if e.Clear && r.suspect.Valid {
		if err := t.setSuspect(r.seq, &backend.Task{}); err != nil {
			return backend.SettledLost, err
		}
	}
	return r.settledResult(), t.applySettle(r, e)
}

// notePayload records what a claim has found out about the payload, usually nothing.
func (t *tx) notePayload(r *row, is backend.PayloadState) error {
	switch is {
	case backend.PayloadDecoded:
		return t.exec("UPDATE task SET wrong_since = NULL WHERE seq = ?", r.seq)
	case backend.PayloadWrongVersion:
		return t.exec("UPDATE task SET wrong_since = ifnull(wrong_since, ?) WHERE seq = ?", t.now, r.seq)
	}
	return nil
}

// applySettle writes a settle that was accepted.
func (t *tx) applySettle(r *row, e *backend.Settle) error {
	switch e.To {
	case backend.StatusSuccess:
		return t.endTask(r, e.To, e.Result, nil)
	case backend.StatusRetrying:
		return t.releaseTask(r, e.To, instant.Add(t.now, e.Delay), reasonError(e.Error, "the attempt failed"),
			backend.AttemptFailed)
	case backend.StatusFailed:
		return t.endTask(r, e.To, nil, reasonError(e.Error, "the attempt failed"))
	case backend.StatusWaiting:
		r.attempt-- // it is not charged
		var why *backend.TaskError
		if e.Payload == backend.PayloadWrongVersion {
			why = reasonError(e.Error, "the attempt failed")
		}
		return t.releaseTask(r, e.To, instant.Add(t.now, e.Delay), why, backend.AttemptReturned)
	default:
		return t.endTask(r, e.To, nil, reasonError(e.Error, r.reason))
	}
}

// settledResult returns the result of a settle that was applied.
func (r *row) settledResult() backend.Settled {
	if r.hasSubtasks {
		return backend.SettledWithSubtasks
	}
	return backend.SettledApplied
}

// MarkRetried implements backend.Store.
func (s *store) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	return write(ctx, s.db.writer, func(tx *tx) (string, error) {
		r, err := tx.task("WHERE id = ?", id)
		switch {
		case err != nil:
			return "", err
		case r == nil:
			return "", noTask(id)
		case !r.Status.Final():
			return "", backend.Errorf(backend.ErrFailedPrecondition, "task %q is %s", id, r.Status)
		case r.RetriedBy != from:
			return r.RetriedBy, nil
		}
		return to, tx.exec("UPDATE task SET retried_by = ? WHERE seq = ?", to, r.seq)
	})
}

// Progress implements backend.Store.
func (s *store) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	return change(ctx, s.db.writer, func(tx *tx) error {
		n, err := tx.execCount(`UPDATE task SET progress = ?, progressed = ? WHERE id = ? AND status = 2 AND fence = ?`,
			blob(progress), instant.Of(s.db.now()), id, fence)
		if n == 0 && err == nil {
			err = backend.Errorf(backend.ErrAborted, "task %q no longer runs with fence %d", id, fence)
		}
		return err
	})
}
