package embedded

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// ensureOwner creates an owner on its first beat or claim. It returns an error if the owner has expired.
func (t *tx) ensureOwner(name string) error {
	var expired bool
	known, err := t.row("SELECT convicted FROM owner WHERE name = ?", []any{name}, &expired)
	switch {
	case err != nil:
		return err
	case expired:
		return errOwnerExpired(name)
	case known:
		return nil
	}
	return t.exec("INSERT INTO owner (name, count, peer) VALUES (?, 0, ?)", name, t.peer)
}

func errOwnerExpired(owner string) error {
	return backend.Errorf(backend.ErrAborted, "owner %q was declared dead and lost its tasks", owner)
}

// Beat implements backend.Store.
func (s *store) Beat(ctx context.Context, owner string, count int64) error {
	return change(ctx, s.db.writer, func(tx *tx) error {
		if err := tx.ensureOwner(owner); err != nil {
			return err
		}
		return tx.exec("UPDATE owner SET count = ?1, heard = ?2 WHERE name = ?3 AND count < ?1", count, tx.now, owner)
	})
}

// Drain implements backend.Store.
func (s *store) Drain(ctx context.Context, owner string) error {
	return change(ctx, s.db.writer, func(tx *tx) error {
		var expired bool
		known, err := tx.row("SELECT convicted FROM owner WHERE name = ?", []any{owner}, &expired)
		switch {
		case err != nil || !known:
			return err
		case expired:
			return errOwnerExpired(owner)
		}
		return tx.exec("UPDATE owner SET draining = 1 WHERE name = ?", owner)
	})
}

// Owners implements backend.Store.
func (s *store) Owners(ctx context.Context) (map[string]backend.Heartbeat, error) {
	type owner struct {
		name         string
		count, heard int64
	}
	owners, err := readAll(ctx, s.db, func(rows *sql.Rows) (o owner, err error) {
		err = rows.Scan(&o.name, &o.count, &o.heard)
		return o, err
	}, "SELECT name, count, heard FROM owner WHERE NOT convicted")
	if err != nil {
		return nil, err
	}
	beats := make(map[string]backend.Heartbeat, len(owners))
	for _, o := range owners {
		beats[o.name] = backend.Heartbeat{Count: o.count, At: instant.Time(o.heard)}
	}
	return beats, nil
}

// Dead implements backend.ProcessWatcher: an owner is dead if its peer is dead or was removed.
func (s *store) Dead(ctx context.Context, owners []string) ([]string, error) {
	type owner struct {
		name, peer string
		there      bool
	}
	found, err := readAll(ctx, s.db, func(rows *sql.Rows) (o owner, err error) {
		err = rows.Scan(&o.name, &o.peer, &o.there)
		return o, err
	}, `SELECT name, owner.peer, peer.id IS NOT NULL FROM owner LEFT JOIN peer ON peer.id = owner.peer
		WHERE name IN (SELECT value FROM json_each(?))`, list(owners))
	var dead []string
	for _, o := range found {
		if !o.there || s.peers.isDead(o.peer) {
			dead = append(dead, o.name)
		}
	}
	return dead, err
}

// Deaths implements backend.ProcessWatcher.
func (s *store) Deaths() <-chan struct{} { return s.peers.deaths.C() }

// ExpireOwner implements backend.Store.
func (s *store) ExpireOwner(ctx context.Context, owner string, count int64, maxCrashes int) ([]backend.Task, error) {
	return write(ctx, s.db.writer, func(tx *tx) ([]backend.Task, error) {
		n, err := tx.execCount("UPDATE owner SET convicted = 1 WHERE name = ? AND count = ?", owner, count)
		if err != nil || n == 0 {
			return nil, err
		}
		var draining bool
		if _, err := tx.row("SELECT draining FROM owner WHERE name = ?", []any{owner}, &draining); err != nil {
			return nil, err
		}
		lost, err := tx.rows("owner = ? AND status = 2 ORDER BY seq", owner)
		if err != nil {
			return nil, err
		}
		var heard int64
		if _, err := tx.row("SELECT heard FROM owner WHERE name = ?", []any{owner}, &heard); err != nil {
			return nil, err
		}
		ran := make([]backend.Task, len(lost))
		for i, r := range lost {
			if ran[i], err = r.lossTask(); err != nil {
				return nil, err
			}
		}
		loss := backend.NewLoss(owner, ran, instant.Time(heard), instant.Time(tx.now), maxCrashes)
		loss.Void = draining
		for i, r := range lost {
			if err := tx.expireClaim(r, &ran[i], &loss); err != nil {
				return nil, err
			}
		}
		return tx.currentHeads(lost)
	})
}

// expireClaim ends the claim of an expired owner on a task (rows 7 and 10). ran is the task as returned by lossTask.
func (t *tx) expireClaim(r *row, ran *backend.Task, loss *backend.Loss) error {
	if r.stopping {
		return t.endTask(r, backend.StatusStopped, nil, reasonError(nil, r.reason))
	}
	wait := loss.Free(ran)
	if err := t.setSuspect(r.seq, ran); err != nil {
		return err
	}
	r.attempt, r.crashes = ran.Attempt, ran.Crashes
	if ran.Status == backend.StatusFailed {
		if err := t.keepAttempt(r, backend.AttemptLost, ran.Error); err != nil {
			return err
		}
		return t.endTask(r, ran.Status, nil, ran.Error)
	}
	if wait > 0 {
		r.due = t.now + int64(wait)
	}
	return t.releaseTask(r, ran.Status, r.due, nil, backend.AttemptLost)
}

// lossTask returns the fields of a task that a backend.Loss depends on.
func (r *row) lossTask() (backend.Task, error) {
	s, err := scanSuspect(r.id, r.suspect)
	return backend.Task{
		ID: r.id, Attempt: r.attempt, Crashes: r.crashes, MaxCrashes: r.maxCrashes, Started: instant.Time(r.started),
		Suspect: s,
	}, err
}

// scanSuspect decodes the column suspect.
func scanSuspect(id string, text sql.NullString) (*backend.Suspect, error) {
	if !text.Valid {
		return nil, nil
	}
	s := new(backend.Suspect)
	if err := json.Unmarshal([]byte(text.String), s); err != nil {
		return nil, backend.Errorf(backend.ErrDataLoss, "decoding suspect of task %q: %w", id, err)
	}
	return s, nil
}

// setSuspect writes task.Suspect.
func (t *tx) setSuspect(seq int64, task *backend.Task) error {
	var text any
	if task.Suspect != nil {
		b, err := json.Marshal(task.Suspect)
		if err != nil {
			return err
		}
		text = string(b)
	}
	return t.exec("UPDATE task SET suspect = ?, suspected = ? WHERE seq = ?", text, task.Suspected(), seq)
}

// Refund implements backend.Store.
func (s *store) Refund(ctx context.Context, owner string) error {
	return change(ctx, s.db.writer, func(tx *tx) error {
		var expired bool
		if _, err := tx.row("SELECT convicted FROM owner WHERE name = ?", []any{owner}, &expired); err != nil ||
			!expired {
			return err
		}
		lost, err := tx.heads("WHERE suspect IS NOT NULL AND status < 4 AND suspect ->> '$.owner' = ?", owner)
		if err != nil {
			return err
		}
		for _, r := range lost {
			if !r.Refund(owner) {
				continue
			}
			if err := tx.setSuspect(r.seq, &r.Task); err != nil {
				return err
			}
			if err := tx.exec("UPDATE task SET crashes = ? WHERE seq = ?", r.Crashes, r.seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// Owned implements backend.Store.
func (s *store) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	return readAll(ctx, s.db, func(rows *sql.Rows) (o backend.Owned, err error) {
		err = rows.Scan(&o.ID, &o.Queue, &o.Fence, &o.Stopping)
		return o, err
	}, "SELECT id, queue, fence, stopping FROM task WHERE owner = ? AND status = 2", owner)
}
