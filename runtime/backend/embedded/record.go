package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// statuses maps the numbers in the file to statuses. Statements compare the numbers: below 4 a task is live, and 2 is
// running.
var statuses = [...]backend.Status{
	backend.StatusWaiting, backend.StatusPending, backend.StatusRunning, backend.StatusRetrying,
	backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped,
}

const none = -1 // the status of a task that doesn't exist

func number(s backend.Status) int { return slices.Index(statuses[:], s) }

// Values of the columns place and gate.
const (
	notWaiting = 0
	inReady    = 1
	delayed    = 2

	gateOpen    = 0
	gateClosed  = 1 // committed, but its source has not succeeded yet
	uncommitted = 2 // Spawn has not committed it
)

// The columns that scanRecord reads. A head has NULL for the large ones. Columns that are mostly NULL are read as one
// JSON object, because each column of a result costs an allocation.
const (
	plainColumns = `task.seq, id, queue, status, weight, due, ifnull(deadline, 0), attempt, crashes, fence,
		ifnull(unique_key, ''), ifnull(source, ''), batch, on_failure, done_of, retry_of, fingerprint, timeout, started,
		ended, error_code, error_message, trace, retried_by, ifnull(wrong_since, 0), max_crashes,
		EXISTS (SELECT 1 FROM family WHERE family.source = task.id), CASE WHEN status < 4 THEN gate ELSE 0 END,
		CASE WHEN status = 2 OR ended_by > 0 THEN claimer END, stopping AND status = 2, `
	headRare = `'{"subtasks":' || ifnull(subtasks, 'null') || ',"allow":' || ifnull(allow, 'null') ||
		',"suspect":' || ifnull(suspect, 'null') || ',"retries":' || ifnull(retries, 'null')`

	taskColumns = plainColumns + `CASE WHEN coalesce(subtasks, allow, suspect, retries, error_details, metadata,
		progressed, ended_trace) IS NOT NULL THEN ` + headRare + ` || ',"details":' || ifnull(error_details, 'null') ||
		',"metadata":' || ifnull(metadata, 'null') || ',"progressed":' || ifnull(progressed, 0) || ',"ended_trace":' ||
		json_quote(ended_trace) || '}' END, progress, result, log, payload, ended_by, attempts `
	headColumns = plainColumns + `CASE WHEN coalesce(subtasks, allow, suspect, retries) IS NOT NULL THEN ` + headRare +
		` || '}' END, NULL, NULL, NULL, NULL, 0, NULL `

	selectTask = "SELECT " + taskColumns + "FROM task LEFT JOIN payload ON payload.seq = task.seq "
	selectHead = "SELECT " + headColumns + "FROM task "
)

// rareColumns are the columns that are read as one JSON object.
type rareColumns struct {
	Subtasks   *backend.SubtaskCounts `json:"subtasks"`
	Allow      []string               `json:"allow"`
	Suspect    *backend.Suspect       `json:"suspect"`
	Retries    *int                   `json:"retries"`
	Details    []backend.ErrorDetail  `json:"details"`
	Metadata   map[string]string      `json:"metadata"`
	Progressed int64                  `json:"progressed"`
	EndedTrace string                 `json:"ended_trace"`
}

// A record is a task and its row.
type record struct {
	backend.Task
	seq    int64
	status int
}

// scanRecord reads a row of selectTask or selectHead.
func scanRecord(rows *sql.Rows) (*record, error) {
	var x struct { // a single allocation for all scanned variables
		record
		due, deadline, started, ended, wrong        int64
		endedBy, gate                               int
		code, message, log, rare, claimer, attempts sql.NullString
	}
	r := &x.record
	t := &r.Task
	err := rows.Scan(&r.seq, &t.ID, &t.Queue, &r.status, &t.Weight, &x.due, &x.deadline, &t.Attempt, &t.Crashes, &t.Fence,
		&t.UniqueKey, &t.Source, &t.Batch, (*string)(&t.OnFailure), &t.DoneOf, &t.RetryOf, &t.Fingerprint,
		(*int64)(&t.Timeout),
		&x.started, &x.ended, &x.code, &x.message, &t.Trace, &t.RetriedBy, &x.wrong, &t.MaxCrashes, &t.Spawned, &x.gate,
		&x.claimer, &t.Stopping,
		&x.rare, (*[]byte)(&t.Progress), (*[]byte)(&t.Result), &x.log, (*[]byte)(&t.Payload), &x.endedBy, &x.attempts)
	if err != nil {
		return nil, err
	}
	if r.status < 0 || r.status >= len(statuses) {
		return nil, backend.Errorf(backend.ErrDataLoss, "task %q has unknown status %d", t.ID, r.status)
	}
	t.Status = statuses[r.status]
	t.Gated, t.Uncommitted = x.gate == gateClosed, x.gate == uncommitted
	t.Created, t.RunAt, t.Deadline = instant.Time(r.seq), instant.Time(x.due), instant.Time(x.deadline)
	t.Started, t.Ended, t.WrongVersionSince = instant.Time(x.started), instant.Time(x.ended), instant.Time(x.wrong)
	if x.code.Valid {
		t.Error = &backend.TaskError{Code: backend.Code(x.code.String), Message: x.message.String}
	}
	if x.log.Valid {
		t.Log = strings.Split(x.log.String, "\n")
	}
	trace := ""
	if x.rare.Valid {
		if trace, err = r.setRare(x.rare.String); err != nil {
			return nil, err
		}
	}
	if x.claimer.Valid {
		t.Instance, t.IP = claimerOf(x.claimer.String, t.Fence)
	}
	if t.Attempts, err = scanAttempts(t.ID, x.attempts); err != nil {
		return nil, err
	}
	if x.endedBy == endedByAttempt {
		a := backend.NewAttempt(t, t.Ended, backend.OutcomeOf(t.Status), t.Error)
		a.Trace = trace
		t.Attempts = backend.AppendAttempt(t.Attempts, a)
	}
	return r, nil
}

// setRare sets the fields of rareColumns, and returns the trace of the attempt that has ended the task.
func (r *record) setRare(text string) (trace string, err error) {
	var c rareColumns
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return "", backend.Errorf(backend.ErrDataLoss, "decoding task %q: %w", r.ID, err)
	}
	r.Subtasks, r.Allow, r.Suspect, r.Retries, r.Metadata = c.Subtasks, c.Allow, c.Suspect, c.Retries, c.Metadata
	r.Progressed = instant.Time(c.Progressed)
	if r.Error != nil {
		r.Error.Details = c.Details
	}
	return c.EndedTrace, nil
}

func tasksOf(records []*record) []backend.Task {
	tasks := make([]backend.Task, len(records))
	for i, r := range records {
		tasks[i] = r.Task
	}
	return tasks
}

// tasks reads tasks. where is the end of the query.
func (t *tx) tasks(where string, args ...any) ([]*record, error) {
	return queryAll(t, scanRecord, selectTask+where, args...)
}

// heads is tasks without the large columns.
func (t *tx) heads(where string, args ...any) ([]*record, error) {
	return queryAll(t, scanRecord, selectHead+where, args...)
}

// task reads one task, or returns nil if there is none.
func (t *tx) task(where string, args ...any) (*record, error) {
	all, err := t.tasks(where, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// list returns a JSON array, for json_each: so a statement's text doesn't depend on the number of values.
func list[T any](values []T) string {
	text, _ := json.Marshal(values) // strings and numbers
	return string(text)
}

// nullJSON returns a value with n members as JSON, or nil if n is 0.
func nullJSON(n int, value any) any {
	if n == 0 {
		return nil
	}
	text, _ := json.Marshal(value) // strings, and JSON that was validated
	return string(text)
}

// null returns nil, which is NULL, if s is empty.
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func nullInt(n *int) any {
	if n == nil {
		return nil
	}
	return *n
}

func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return instant.Of(t)
}

// blob returns nil, which is NULL, if b is nil.
func blob(b json.RawMessage) any {
	if b == nil {
		return nil
	}
	return []byte(b)
}

// Now implements backend.Store. The file's clock is that of the machine.
func (s *store) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, backend.Errorf(backend.CodeOf(err), "reading the time: %w", err).With(backend.OutcomeNotSent)
	}
	return s.db.now().UTC(), nil
}

// Get implements backend.Store.
func (s *store) Get(ctx context.Context, id string) (backend.Task, error) {
	all, err := readAll(ctx, s.db, scanRecord, selectTask+"WHERE id = ?", id)
	switch {
	case err != nil:
		return backend.Task{}, err
	case len(all) == 0:
		return backend.Task{}, noTask(id)
	}
	return all[0].Task, nil
}

// Statuses implements backend.Store.
func (s *store) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	type row struct {
		id     string
		status int
	}
	rows, err := readAll(ctx, s.db, func(rows *sql.Rows) (r row, err error) {
		if err = rows.Scan(&r.id, &r.status); err == nil && (r.status < 0 || r.status >= len(statuses)) {
			err = fmt.Errorf("task %q has the unknown status %d", r.id, r.status)
		}
		return r, err
	}, "SELECT id, status FROM task WHERE id IN (SELECT value FROM json_each(?))", list(ids))
	found := make(map[string]backend.Status, len(rows))
	for _, r := range rows {
		found[r.id] = statuses[r.status]
	}
	return found, err
}

func noTask(id string) error { return backend.Errorf(backend.ErrNotFound, "no task %q", id) }

// errorColumns returns the values of a task's error columns, nil if e is nil.
func errorColumns(e *backend.TaskError) (code, message, details any) {
	if e == nil {
		return nil, nil, nil
	}
	return string(e.Code), e.Message, nullJSON(len(e.Details), e.Details)
}
