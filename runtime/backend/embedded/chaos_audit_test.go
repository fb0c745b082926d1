//go:build unix

package embedded_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// An auditRow is a row of the table audit.
type auditRow struct {
	at            time.Time
	who, what     string
	before, after *auditTask
}

// An auditTask is a row of the table task, or the audited columns of a batch or an owner.
type auditTask struct {
	ID        string                `json:"id"`
	Queue     string                `json:"queue"`
	Status    int                   `json:"status"`
	Gate      int                   `json:"gate"`
	Due       int64                 `json:"due"`
	Deadline  int64                 `json:"deadline"`
	Attempt   int                   `json:"attempt"`
	Crashes   int                   `json:"crashes"`
	Fence     int64                 `json:"fence"`
	Owner     string                `json:"owner"`
	Settled   int                   `json:"settled"`
	FanIn     int                   `json:"fan_in"`
	UniqueKey string                `json:"unique_key"`
	Source    string                `json:"source"`
	Batch     string                `json:"batch"`
	OnFailure backend.FailurePolicy `json:"on_failure"`
	DoneOf    string                `json:"done_of"`
	Started   int64                 `json:"started"`
	Ended     int64                 `json:"ended"`
	Subtasks  string                `json:"subtasks"`
	Result    string                `json:"result"`
}

// The statuses in the file, and a gate.
const (
	rowRunning = 2
	rowFailed  = 5
	rowStopped = 6
	gateHeld   = 2
)

var rowStatuses = []backend.Status{
	backend.StatusWaiting, backend.StatusPending, backend.StatusRunning, backend.StatusRetrying,
	backend.StatusSuccess, backend.StatusFailed, backend.StatusStopped,
}

func (r *auditTask) task() backend.Task {
	if r == nil {
		return backend.Task{}
	}
	t := backend.Task{
		ID: r.ID, Queue: r.Queue, Status: rowStatuses[r.Status], Attempt: r.Attempt, Crashes: r.Crashes, Fence: r.Fence,
		UniqueKey: r.UniqueKey, Source: r.Source, Batch: r.Batch, OnFailure: r.OnFailure, DoneOf: r.DoneOf,
		RunAt: instantOf(r.Due), Deadline: instantOf(r.Deadline), Started: instantOf(r.Started), Ended: instantOf(r.Ended),
	}
	if r.Result != "" {
		t.Result = json.RawMessage(r.Result)
	}
	if r.Subtasks != "" {
		t.Subtasks = new(backend.SubtaskCounts)
		if err := json.Unmarshal([]byte(r.Subtasks), t.Subtasks); err != nil {
			panic(err)
		}
	}
	return t
}

func instantOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// op returns the operation of a store that made a change. It returns "", which the check rejects, if none could have
// made it.
func (r auditRow) op() string {
	a, b := r.before, r.after
	switch {
	case b == nil && a.Gate == gateHeld:
		return "Discard"
	case b == nil:
		return "" // no task is old enough to be purged
	case b.DoneOf != "" && a == nil, a != nil && a.Subtasks == "" && b.Subtasks != "":
		return "Finish"
	case a == nil:
		return "Insert"
	case b.Status == a.Status && b.Crashes < a.Crashes:
		return "Refund"
	case b.Status == rowRunning && (a.Status != rowRunning || a.Fence != b.Fence):
		return "Claim"
	case a.Status == rowRunning && b.Settled != 0:
		return "Settle"
	case a.Status == rowRunning:
		return "ExpireOwner"
	case b.Status == rowFailed:
		return "Promote"
	case b.Status == rowStopped:
		return "Stop"
	}
	return ""
}

// same reports whether nothing has changed that a transition changes; a stop may have been requested.
func (r auditRow) same() bool {
	a, b := r.before, r.after
	return a != nil && b != nil && a.Status == b.Status && a.Fence == b.Fence && a.Attempt == b.Attempt &&
		a.Crashes == b.Crashes &&
		a.Due == b.Due && a.Ended == b.Ended && a.Subtasks == b.Subtasks && a.Result == b.Result
}

// readRows reads the table audit. No other process has the file open.
func readRows(path string) ([]auditRow, error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query("SELECT at, who, what, before, after FROM audit ORDER BY n")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []auditRow
	for rows.Next() {
		var r auditRow
		var at int64
		var before, after sql.NullString
		if err := rows.Scan(&at, &r.who, &r.what, &before, &after); err != nil {
			return nil, err
		}
		r.at = time.UnixMilli(at)
		for text, to := range map[*sql.NullString]**auditTask{&before: &r.before, &after: &r.after} {
			if text.Valid {
				if err := json.Unmarshal([]byte(text.String), to); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// readStored reads all tasks as the store returns them.
func readStored(path string) (map[string]backend.Task, error) {
	ctx := context.Background()
	ports, err := embedded.File(path).Open(ctx, backend.Env{Instance: backend.Instance{ID: "reader"},
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	stored := map[string]backend.Task{}
	q := backend.TaskQuery{Limit: 1000, Sort: backend.SortOldest}
	for {
		page, err := ports.Store.List(ctx, q)
		if err != nil {
			return nil, errors.Join(err, ports.Close(ctx))
		}
		for _, t := range page.Tasks {
			stored[t.ID] = t
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return stored, ports.Close(ctx)
		}
	}
}

// Audit implements chaos.World.
func (w fileWorld) Audit(start time.Time) (*chaos.Audit, error) {
	rows, err := readRows(w.path)
	if err != nil {
		return nil, err
	}
	stored, err := readStored(w.path)
	if err != nil {
		return nil, err
	}
	var entries []fault.Entry
	var owners []string
	for _, r := range rows {
		if r.what == "task" && r.same() {
			continue
		}
		e := fault.Entry{At: r.at.Sub(start), Now: r.at, Instance: r.who}
		owner := ""
		switch r.what {
		case "task":
			e.Op, e.Changes = r.op(), []fault.Change{{Before: r.before.task(), After: r.after.task()}}
			if r.before != nil {
				owner = r.before.Owner
			}
			if e.Op == "Claim" { // by the store's clock
				e.Owner, e.FanIn, e.Now = r.after.Owner, r.after.FanIn != 0, instantOf(r.after.Started)
			}
		case "batch":
			e.Op, e.Commits = "Spawn", r.after.Source
			e.Spawn = backend.Spawn{Source: r.after.Source, Batch: r.after.Batch, Now: chaos.RunsNow(stored[r.after.Source],
				r.after.Batch)}
		case "owner":
			e.Op, e.Owner, e.Expires = "ExpireOwner", r.after.Owner, true
		}
		entries, owners = append(entries, e), append(owners, owner)
	}
	a := &chaos.Audit{Log: fault.NewLog(entries), Owners: map[*fault.Entry]string{}, Stored: stored}
	for i := range a.Log.Entries {
		a.Owners[&a.Log.Entries[i]] = owners[i]
	}
	return a, nil
}
