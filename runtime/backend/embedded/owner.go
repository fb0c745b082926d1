package embedded

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/afgen/afgen/runtime/backend"
)

// admit makes an owner known, from its first beat or claim on, and refuses one that was convicted.
func (t *tx) admit(name string) error {
	var convicted bool
	known, err := t.row("SELECT convicted FROM owner WHERE name = ?", []any{name}, &convicted)
	switch {
	case err != nil:
		return err
	case convicted:
		return declaredDead(name)
	case known:
		return nil
	}
	return t.exec("INSERT INTO owner (name, count, peer) VALUES (?, 0, ?)", name, t.peer)
}

func declaredDead(owner string) error {
	return backend.Errorf(backend.ErrAborted, "owner %q was taken for dead: what it ran is another's", owner)
}

// Beat implements backend.Store.
func (s *store) Beat(ctx context.Context, owner string, count int64) error {
	return change(ctx, s.db.writer, func(tx *tx) error {
		if err := tx.admit(owner); err != nil {
			return err
		}
		return tx.exec("UPDATE owner SET count = max(count, ?) WHERE name = ?", count, owner)
	})
}

// Drain implements backend.Store.
func (s *store) Drain(ctx context.Context, owner string) error {
	return change(ctx, s.db.writer, func(tx *tx) error {
		var convicted bool
		known, err := tx.row("SELECT convicted FROM owner WHERE name = ?", []any{owner}, &convicted)
		switch {
		case err != nil || !known:
			return err
		case convicted:
			return declaredDead(owner)
		}
		return tx.exec("UPDATE owner SET draining = 1 WHERE name = ?", owner)
	})
}

// Owners implements backend.Store.
func (s *store) Owners(ctx context.Context) (map[string]int64, error) {
	type owner struct {
		name  string
		count int64
	}
	owners, err := readAll(ctx, s.db, func(rows *sql.Rows) (o owner, err error) {
		err = rows.Scan(&o.name, &o.count)
		return o, err
	}, "SELECT name, count FROM owner WHERE NOT convicted")
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(owners))
	for _, o := range owners {
		counts[o.name] = o.count
	}
	return counts, nil
}

// Dead implements backend.Witness: an owner is dead whose peer is, or has been removed.
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
		if !o.there || s.peers.dead(o.peer) {
			dead = append(dead, o.name)
		}
	}
	return dead, err
}

// Deaths implements backend.Witness.
func (s *store) Deaths() <-chan struct{} { return s.peers.deaths }

// Judge implements backend.Store.
func (s *store) Judge(ctx context.Context, owner string, count int64, maxCrashes int) ([]backend.Task, error) {
	return write(ctx, s.db.writer, func(tx *tx) ([]backend.Task, error) {
		n, err := tx.affect("UPDATE owner SET convicted = 1 WHERE name = ? AND count = ?", owner, count)
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
		for _, r := range lost {
			if err := tx.orphan(r, maxCrashes, draining); err != nil {
				return nil, err
			}
		}
		return tx.asTheyAre(lost)
	})
}

// orphan ends the claim of a convicted owner (rows 7 and 10).
func (t *tx) orphan(r *row, maxCrashes int, draining bool) error {
	if r.stopping {
		return t.end(r, backend.StatusStopped, nil, reasonError(nil, r.reason))
	}
	r.attempt--
	if !draining {
		r.crashes++
	}
	if draining || r.crashes < maxCrashes {
		return t.release(r, backend.StatusWaiting, r.due, nil)
	}
	return t.end(r, backend.StatusFailed, nil, &backend.TaskError{
		Code: backend.ErrInternal, Message: fmt.Sprintf("%d processes were lost while they ran it", r.crashes),
	})
}

// Owned implements backend.Store.
func (s *store) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	return readAll(ctx, s.db, func(rows *sql.Rows) (o backend.Owned, err error) {
		err = rows.Scan(&o.ID, &o.Queue, &o.Fence, &o.Stopping)
		return o, err
	}, "SELECT id, queue, fence, stopping FROM task WHERE owner = ? AND status = 2", owner)
}
