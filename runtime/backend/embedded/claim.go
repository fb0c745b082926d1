package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A claimResult is the result of a Claim.
type claimResult struct {
	tasks []backend.Task
	next  time.Duration
}

// Claim implements backend.Store. If there is nothing to claim it only reads, so that idle processes don't compete for
// the write lock.
func (s *store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if len(c.IDs) > 0 {
		c.Fingerprint = ""
	}
	idle, next, err := s.nothingToClaim(ctx, c)
	if idle || err != nil {
		return nil, next, err
	}
	got, err := write(ctx, s.db.writer, func(tx *tx) (claimResult, error) { return tx.claimTasks(c) })
	return got.tasks, got.next, err
}

// nothingToClaim reports whether a claim would change nothing, and if so, when the next task is due.
func (s *store) nothingToClaim(ctx context.Context, c backend.Claim) (idle bool, next time.Duration, err error) {
	var expired, busy int
	var due sql.NullInt64
	known, err := s.db.readRow(ctx, `SELECT owner.convicted,
			EXISTS (SELECT 1 FROM task WHERE queue = ?1 AND place = 1 AND suspected <= ?6 AND `+claimable(c, "?4", "?7")+`) OR
			EXISTS (SELECT 1 FROM task WHERE owner = ?2 AND nonce = ?3 AND status = 2) OR
			?5 <> '' AND EXISTS (SELECT 1 FROM task WHERE queue = ?1 AND `+wrongVersion("?5")+`),
			(SELECT min(due) FROM task WHERE queue = ?1 AND place = 2)
		FROM owner WHERE name = ?2`, withSkip(c, c.Queue, c.Owner, c.Nonce, list(c.Networks), c.Fingerprint, c.Suspects),
		&expired, &busy, &due)
	now := instant.Of(s.db.now())
	switch {
	case err != nil:
		return false, 0, err
	case !known || expired != 0 || busy != 0 || due.Valid && due.Int64 <= now:
		return false, 0, nil
	case due.Valid:
		next = time.Duration(due.Int64 - now)
	}
	return true, next, nil
}

func (t *tx) claimTasks(c backend.Claim) (claimResult, error) {
	var got claimResult
	if err := t.ensureOwner(c.Owner); err != nil {
		return got, err
	}
	if err := t.moveDueToReady(c.Queue); err != nil {
		return got, err
	}
	if c.Fingerprint != "" { // tasks that were due already keep their time
		if err := t.exec("UPDATE task SET place = 1, due = ? WHERE queue = ? AND "+wrongVersion("?"), t.now, c.Queue,
			c.Fingerprint); err != nil {
			return got, err
		}
	}
	next, err := t.nextDue(c.Queue)
	if err != nil {
		return got, err
	}
	got.next = next
	taken, err := t.tasks("WHERE owner = ? AND nonce = ? AND status = 2 ORDER BY task.seq", c.Owner, c.Nonce)
	if err != nil || len(taken) > 0 {
		got.tasks = tasksOf(taken)
		return got, err
	}
	free, err := t.claimableTasks(c)
	if err != nil || len(free) == 0 {
		return got, err
	}
	seqs := make([]int64, len(free))
	for i, r := range free {
		seqs[i] = r.seq
		t.countTransition(r.Queue, r.status, number(backend.StatusRunning))
		r.Status, r.Started = backend.StatusRunning, instant.Time(t.now)
		r.Fence++
		r.Attempt++
		r.MaxCrashes = c.MaxCrashes
		r.Instance, r.IP = c.Instance, c.IP
	}
	got.tasks = tasksOf(free)
	return got, t.exec(`UPDATE task SET status = 2, place = 0, owner = ?, nonce = ?, settled = 0, fan_in = ?, started = ?,
			max_crashes = ?, claimer = (fence + 1) || ?, fence = fence + 1, attempt = attempt + 1
		WHERE seq IN (SELECT value FROM json_each(?))`, c.Owner, c.Nonce, c.FanIn, t.now, c.MaxCrashes, claimerText(c),
		list(seqs))
}

// claimableTasks reads the tasks that a claim may take, best first. It skips those past their deadline (row 2) and all
// but the best c.Suspects suspected ones.
func (t *tx) claimableTasks(c backend.Claim) ([]*record, error) {
	args := withSkip(c, c.Queue, t.now, list(c.Networks), max(c.Suspects, 0), max(c.Max, 0))
	free := `queue = ?1 AND place = 1 AND (deadline IS NULL OR deadline > ?2) AND ` + claimable(c, "?3", "?6")
	if len(c.IDs) > 0 {
		args = append(args, list(c.IDs))
		free += fmt.Sprintf(` AND id IN (SELECT value FROM json_each(?%d))`, len(args))
	}
	return t.tasks(`WHERE `+free+` AND (suspected = 0 OR task.seq IN
			(SELECT seq FROM task WHERE `+free+` AND suspected = 1 ORDER BY weight DESC, seq LIMIT ?4))
		ORDER BY weight DESC, task.seq LIMIT ?5`, args...)
}

// claimable returns the condition that a claim may take a ready task. networks and skip refer to JSON arrays of the
// claim's Networks and Skip.
func claimable(c backend.Claim, networks, skip string) string {
	may := allowed(networks)
	if len(c.Skip) == 0 {
		return may
	}
	return may + ` AND NOT EXISTS (SELECT 1 FROM json_each(` + skip + `) AS v
		WHERE v.value ->> 'fingerprint' = fingerprint AND ` + allowed("v.value -> 'networks'") + `)`
}

// withSkip appends the argument skip of claimable, if the condition uses it.
func withSkip(c backend.Claim, args ...any) []any {
	if len(c.Skip) > 0 {
		args = append(args, list(c.Skip))
	}
	return args
}

// wrongVersion returns the condition that a task waits for a worker with its fingerprint.
func wrongVersion(fingerprint string) string {
	return "place = 2 AND wrong_since IS NOT NULL AND fingerprint = " + fingerprint
}

// allowed returns the condition that a claimer may run the task. networks refers to a JSON array of its networks.
func allowed(networks string) string {
	return `(allow IS NULL OR EXISTS (SELECT 1 FROM json_each(allow) AS a WHERE a.value IN (SELECT value FROM json_each(` +
		networks + `))))`
}

// moveDueToReady makes due tasks ready.
func (t *tx) moveDueToReady(queue string) error {
	return t.exec("UPDATE task SET place = 1 WHERE queue = ? AND place = 2 AND due <= ?", queue, t.now)
}

// nextDue returns the time until the next task is due, or 0 if there is none. The caller has just called
// moveDueToReady.
func (t *tx) nextDue(queue string) (time.Duration, error) {
	var due sql.NullInt64
	_, err := t.row("SELECT min(due) FROM task WHERE queue = ? AND place = 2", []any{queue}, &due)
	if err != nil || !due.Valid {
		return 0, err
	}
	return time.Duration(due.Int64 - t.now), nil
}
