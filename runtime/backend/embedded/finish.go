package embedded

import (
	"context"
	"encoding/json"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// openChunk is how many gates one transaction opens, so that other changes are written in between. If the process dies,
// Unfinished returns the rest.
const openChunk = 500

// Open implements backend.Store.
func (s *store) Open(ctx context.Context, source string) ([]string, error) {
	queues, err := readAll(ctx, s.db, scanOne[string], `SELECT DISTINCT queue FROM task WHERE source = ?1 AND gate = 1
		AND gate > 0 AND EXISTS (SELECT 1 FROM task AS own WHERE own.id = ?1 AND own.status = 4)
		AND EXISTS (SELECT 1 FROM family WHERE source = ?1 AND finished = 0)`, source)
	if err != nil || len(queues) == 0 {
		return nil, err
	}
	return queues, s.openGates(ctx, source, nil)
}

// openGates opens the gates of a source's committed subtasks: those of one batch, or all if batch is nil.
func (s *store) openGates(ctx context.Context, source string, batch *string) error {
	for {
		opened, err := write(ctx, s.db.writer, func(tx *tx) (int, error) {
			shut, err := queryAll(tx, scanOne[int64], `SELECT seq FROM task WHERE source = ?1 AND gate = 1 AND gate > 0
				AND EXISTS (SELECT 1 FROM family WHERE source = ?1 AND finished = 0) AND (?2 IS NULL OR batch = ?2) LIMIT ?3`,
				source, batch, openChunk)
			if err != nil || len(shut) == 0 {
				return 0, err
			}
			return len(shut), tx.openGates("seq IN (SELECT value FROM json_each(?2))", list(shut))
		})
		if err != nil || opened < openChunk {
			return err
		}
	}
}

// A finishResult is the result of a Finish.
type finishResult struct {
	finished bool
	queue    string
}

// Finish implements backend.Store (row 12).
func (s *store) Finish(ctx context.Context, source string) (bool, string, error) {
	f, err := write(ctx, s.db.writer, func(tx *tx) (finishResult, error) { return tx.finishSet(source) })
	return f.finished, f.queue, err
}

func (t *tx) finishSet(source string) (f finishResult, err error) {
	var finished, done, fanIn, live bool
	var root string
	found, err := t.row(`SELECT finished, done, fan_in, family.root, EXISTS (SELECT 1 FROM task AS kid
			WHERE kid.root = family.root AND kid.source = family.source AND kid.root IS NOT NULL AND kid.status < 4)
			OR EXISTS (SELECT 1 FROM batch WHERE batch.source = family.source AND held = 1 AND entering)
		FROM family JOIN task ON task.id = family.source WHERE family.source = ?`, []any{source}, &finished, &done, &fanIn,
		&root, &live)
	if err != nil || !found {
		return f, err
	}
	r, err := t.task("WHERE id = ?", source)
	if err != nil || !finished && (live || !r.Status.Final()) {
		return f, err
	}
	f.finished = true
	if r.Status == backend.StatusSuccess && fanIn {
		if f.queue, err = t.insertDone(r, root, done); err != nil {
			return f, err
		}
	}
	if finished {
		return f, nil
	}
	counts, err := t.countSubtasks(source)
	if err != nil {
		return f, err
	}
	if err := t.exec("UPDATE task SET subtasks = ? WHERE seq = ?", counts, r.seq); err != nil {
		return f, err
	}
	// Gates that are still closed have no live tasks behind them. They may be many, so they stay closed.
	if err := t.exec("UPDATE family SET finished = 1 WHERE source = ?", source); err != nil {
		return f, err
	}
	return f, t.closeTree(root)
}

// countSubtasks returns the counts of a set as JSON.
func (t *tx) countSubtasks(source string) (string, error) {
	c := backend.SubtaskCounts{Finished: instant.Time(t.now)}
	_, err := t.row(`SELECT count(*), ifnull(sum(status = 4), 0), ifnull(sum(status = 5), 0), ifnull(sum(status = 6), 0)
		FROM task WHERE source = ? AND source IS NOT NULL AND gate <> 2`, []any{source}, &c.Total, &c.Succeeded, &c.Failed,
		&c.Stopped)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(c)
	return string(text), err
}

// insertDone inserts the task that runs SubtasksDone, unless it was inserted before and has been deleted. It returns
// the queue of that task if it can still run.
func (t *tx) insertDone(source *record, root string, before bool) (queue string, err error) {
	id := source.ID + "/done"
	there, err := t.exists("SELECT 1 FROM task WHERE id = ?", id)
	if err != nil || before && !there {
		return "", err
	}
	r, isNew, err := t.insertTask(&backend.NewTask{Task: backend.Task{
		ID: id, Queue: source.Queue, Status: backend.StatusWaiting, Weight: source.Weight,
		Payload: source.Payload, Fingerprint: source.Fingerprint, DoneOf: source.ID, Trace: source.Trace,
		Metadata: source.Metadata,
	}})
	if err != nil {
		return "", err
	}
	if isNew {
		if err := t.exec("UPDATE task SET root = ? WHERE seq = ?", root, r.seq); err != nil {
			return "", err
		}
		if err := t.exec("UPDATE task SET closed = NULL WHERE id = ?", root); err != nil {
			return "", err
		}
		if err := t.exec("UPDATE family SET done = 1 WHERE source = ?", source.ID); err != nil {
			return "", err
		}
	}
	if r.Status == backend.StatusRunning || r.Status.Final() {
		return "", nil
	}
	return source.Queue, nil
}

// closeTree sets the root's closed time if the tree has ended: no task is live and no set is unfinished.
func (t *tx) closeTree(root string) error {
	return t.exec(`UPDATE task SET closed = ?1 WHERE id = ?2 AND status >= 4
		AND NOT EXISTS (SELECT 1 FROM task AS kin WHERE kin.root = ?2 AND kin.root IS NOT NULL AND kin.status < 4)
		AND NOT EXISTS (SELECT 1 FROM family WHERE family.root = ?2 AND finished = 0)`, t.now, root)
}
