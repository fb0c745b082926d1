package embedded

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// stopChunk is how many tasks one transaction stops, so that other changes are written in between.
const stopChunk = 100

// Stop implements backend.Store (row 9, and the request for row 10). The task itself is stopped first: then it takes no
// more subtasks. The sweeper finds those that a subtask spawns meanwhile. Tasks that were already asked to stop are
// returned again.
func (s *store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	if st.Reason == "" {
		st.Reason = "stopped"
	}
	stopped, err := write(ctx, s.db.writer, func(tx *tx) ([]backend.Task, error) {
		top, err := tx.oneRow(st.ID)
		switch {
		case err != nil:
			return nil, err
		case top == nil:
			return nil, noTask(st.ID)
		case st.Below:
			return nil, nil
		}
		return tx.stopTasks(st.Reason, top.seq)
	})
	if err != nil {
		return nil, err
	}
	stopped = st.Report(stopped)
	// The tree may be large: it is read without blocking the writer.
	under, err := readAll(ctx, s.db, scanOne[int64], `WITH RECURSIVE tree (seq, id, status) AS (
			SELECT seq, id, status FROM task WHERE source = ? AND source IS NOT NULL
			UNION ALL
			SELECT task.seq, task.id, task.status FROM tree JOIN task ON task.source = tree.id AND task.source IS NOT NULL
		) SELECT seq FROM tree WHERE status < 4`, st.ID)
	for len(under) > 0 && err == nil {
		var more []backend.Task
		chunk := under[:min(len(under), stopChunk)]
		under = under[len(chunk):]
		more, err = write(ctx, s.db.writer, func(tx *tx) ([]backend.Task, error) { return tx.stopTasks(st.Reason, chunk...) })
		stopped = st.Report(append(stopped, more...))
	}
	if err != nil {
		return nil, err
	}
	return stopped, nil
}

// stopTasks stops waiting tasks, and requests running ones to stop.
func (t *tx) stopTasks(reason string, seqs ...int64) ([]backend.Task, error) {
	live, err := t.rows("seq IN (SELECT value FROM json_each(?)) AND status < 4", list(seqs))
	if err != nil {
		return nil, err
	}
	for _, r := range live {
		switch {
		case statuses[r.status] != backend.StatusRunning:
			err = t.endTask(r, backend.StatusStopped, nil, reasonError(nil, reason))
		case !r.stopping:
			err = t.exec("UPDATE task SET stopping = 1, reason = ? WHERE seq = ?", reason, r.seq)
		}
		if err != nil {
			return nil, err
		}
	}
	return t.currentHeads(live)
}
