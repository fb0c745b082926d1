package embedded

import (
	"database/sql"
	"encoding/json"

	"github.com/afgen/afgen/runtime/backend"
)

// A row has the columns that guards depend on and transitions change. Only endTask, releaseTask, markHinted and
// claimTasks write a status; their callers check the guards.
type row struct {
	seq         int64
	id, queue   string
	status      int
	due         int64
	attempt     int
	crashes     int
	fence       int64
	nonce       string
	settled     bool
	stopping    bool
	reason      string
	gate        int
	source      string
	root        string // "" for roots and uncommitted subtasks
	doneOf      string
	hasSubtasks bool   // it has subtasks
	log         any    // replaces the task's log lines unless it is nil
	attempts    any    // the column attempts, once keepAttempt has added the last one; otherwise nil
	trace       string // of the attempt that is settled

	started    int64
	maxCrashes int
	suspect    sql.NullString
}

func scanRow(rows *sql.Rows) (*row, error) {
	r := new(row)
	return r, rows.Scan(&r.seq, &r.id, &r.queue, &r.status, &r.due, &r.attempt, &r.crashes, &r.fence, &r.nonce, &r.settled,
		&r.stopping, &r.reason, &r.gate, &r.source, &r.root, &r.doneOf, &r.hasSubtasks, &r.started, &r.maxCrashes, &r.suspect)
}

// rows reads the rows of tasks.
func (t *tx) rows(where string, args ...any) ([]*row, error) {
	return queryAll(t, scanRow, `SELECT seq, id, queue, status, due, attempt, crashes, fence, nonce, settled, stopping,
		reason, gate, ifnull(source, ''), ifnull(root, ''), done_of,
		EXISTS (SELECT 1 FROM family WHERE family.source = task.id),
		started, max_crashes, suspect FROM task WHERE `+where, args...)
}

// oneRow reads the row of one task, or returns nil if there is none.
func (t *tx) oneRow(id string) (*row, error) {
	rows, err := t.rows("id = ?", id)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// currentHeads reads the heads of tasks, in the order of rows.
func (t *tx) currentHeads(rows []*row) ([]backend.Task, error) {
	index := make(map[int64]int, len(rows))
	seqs := make([]int64, len(rows))
	for i, r := range rows {
		index[r.seq], seqs[i] = i, r.seq
	}
	found, err := t.heads("WHERE task.seq IN (SELECT value FROM json_each(?))", list(seqs))
	if err != nil {
		return nil, err
	}
	tasks := make([]backend.Task, len(rows))
	for _, r := range found {
		tasks[index[r.seq]] = r.Task
	}
	return tasks, nil
}

// endTask ends a task's own run, or prevents it. why replaces the task's error, even if it is nil.
func (t *tx) endTask(r *row, to backend.Status, result json.RawMessage, why *backend.TaskError) error {
	var closed any
	if r.root == "" && r.gate != uncommitted && !r.hasSubtasks {
		closed = t.now // it is a tree by itself
	}
	code, message, details := errorColumns(why)
	endedBy := notByAttempt
	switch {
	case r.attempts != nil:
		endedBy = endedByKept
	case statuses[r.status] == backend.StatusRunning:
		endedBy = endedByAttempt
	}
	err := t.exec(`UPDATE task SET status = ?, place = 0, owner = NULL, stopping = 0, attempt = ?, crashes = ?, nonce = ?,
			settled = ?, result = ifnull(?, result), error_code = ?, error_message = ?, error_details = ?,
			ended = ?, closed = ?, log = ifnull(?, log), ended_by = ?, ended_trace = ?, attempts = ifnull(?, attempts)
		WHERE seq = ?`,
		number(to), r.attempt, r.crashes, r.nonce, r.settled, blob(result), code, message, details, t.now, closed, r.log,
		endedBy, null(r.trace), r.attempts, r.seq)
	if err != nil {
		return err
	}
	t.countTransition(r.queue, r.status, number(to))
	r.status, r.stopping = number(to), false
	if r.doneOf != "" && r.root != "" {
		return t.closeTree(r.root)
	}
	return nil
}

// releaseTask makes a running task wait again, until due. Its attempt has ended with outcome.
func (t *tx) releaseTask(
	r *row, to backend.Status, due int64, why *backend.TaskError, outcome backend.AttemptOutcome,
) error {
	if err := t.keepAttempt(r, outcome, why); err != nil {
		return err
	}
	code, message, details := errorColumns(why)
	err := t.exec(`UPDATE task SET status = ?1, place = ?2, due = ?3, owner = NULL, stopping = 0, attempt = ?4,
			crashes = ?5, nonce = ?6, settled = ?7, hints = 0,
			error_details = CASE WHEN ?8 IS NULL THEN error_details ELSE ?10 END, error_code = ifnull(?8, error_code),
			error_message = ifnull(?9, error_message), log = ifnull(?11, log), claimer = NULL, attempts = ?12
		WHERE seq = ?13`,
		number(to), t.placeOf(due), due, r.attempt, r.crashes, r.nonce, r.settled, code, message, details, r.log, r.attempts,
		r.seq)
	if err != nil {
		return err
	}
	t.countTransition(r.queue, r.status, number(to))
	r.status, r.stopping = number(to), false
	return nil
}

// reasonError returns given, or an error with the given reason if it is nil.
func reasonError(given *backend.TaskError, reason string) *backend.TaskError {
	if given != nil {
		return given
	}
	return &backend.TaskError{Code: backend.ErrAborted, Message: reason}
}
