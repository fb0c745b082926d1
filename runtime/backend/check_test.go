package backend_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

func TestValidation(t *testing.T) {
	fine := backend.Task{ID: "a", Queue: "q", Status: backend.StatusWaiting}
	subtask := fine
	subtask.Source = "s"
	query := func(q backend.TaskQuery) error { return q.Check() }
	settled := func(d backend.ErrorDetail) error {
		return backend.ValidateSettle([]backend.Settle{
			{To: backend.StatusFailed, Error: &backend.TaskError{Details: []backend.ErrorDetail{d}}},
		})
	}
	for what, err := range map[string]error{
		"no id": backend.ValidateInsert([]backend.NewTask{{Task: fine},
			{Task: backend.Task{Queue: "q", Status: backend.StatusWaiting}}}),
		"no queue": backend.ValidateInsert([]backend.NewTask{{Task: backend.Task{ID: "a",
			Status: backend.StatusWaiting}}}),
		"id not UTF-8": backend.ValidateInsert([]backend.NewTask{{Task: backend.Task{ID: "a\xff", Queue: "q",
			Status: backend.StatusWaiting}}}),
		"id with a NUL": backend.ValidateInsert([]backend.NewTask{{Task: backend.Task{ID: "a\x00", Queue: "q",
			Status: backend.StatusWaiting}}}),
		"runs at once": backend.ValidateInsert([]backend.NewTask{{Task: backend.Task{ID: "a", Queue: "q",
			Status: backend.StatusRunning}}}),
		"ungated subtask":         backend.ValidateInsert([]backend.NewTask{{Task: subtask}}),
		"gated, alone":            backend.ValidateInsert([]backend.NewTask{{Task: fine, Gated: true}}),
		"settled pending":         backend.ValidateSettle([]backend.Settle{{To: backend.StatusSuccess}, {To: backend.StatusPending}}),
		"metadata without a name": backend.ValidateMetadata(map[string]string{"": "x"}),
		"long name":               backend.ValidateMetadata(map[string]string{strings.Repeat("n", 250): ""}),
		"name with a NUL":         backend.ValidateMetadata(map[string]string{"a\x00": ""}),
		"name not UTF-8":          backend.ValidateMetadata(map[string]string{"a\xff": ""}),
		"value not UTF-8":         backend.ValidateMetadata(map[string]string{"a": "\xff"}),
		"large details": settled(backend.ErrorDetail{Type: "t", Value: json.RawMessage(`"` + strings.Repeat("x",
			backend.MaxDetails) + `"`)}),
		"detail without a value": settled(backend.ErrorDetail{Type: "t"}),
		"detail not JSON":        settled(backend.ErrorDetail{Type: "t", Value: json.RawMessage(`{`)}),
		"type not UTF-8":         settled(backend.ErrorDetail{Type: "\xff", Value: json.RawMessage(`1`)}),

		"limit -1":     query(backend.TaskQuery{Limit: -1}),
		"limit 1001":   query(backend.TaskQuery{Limit: 1001}),
		"status done":  query(backend.TaskQuery{Statuses: []backend.Status{backend.StatusFailed, "done"}}),
		"sort by luck": query(backend.TaskQuery{Sort: "luck"}),
	} {
		if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrInvalidArgument ||
			e.Outcome != backend.OutcomeNotSent {
			t.Errorf("%s: %v", what, err)
		}
	}
	q := backend.TaskQuery{Sort: backend.SortEnded, Statuses: backend.Statuses()}
	for _, err := range []error{
		backend.ValidateInsert([]backend.NewTask{{Task: fine}, {Task: subtask, Gated: true}}),
		backend.ValidateSettle([]backend.Settle{{To: backend.StatusSuccess}, {To: backend.StatusRetrying}}),
		q.Check(),
		backend.ValidateMetadata(nil),
		backend.ValidateMetadata(map[string]string{"a": "\x00"}),
		settled(backend.ErrorDetail{Value: json.RawMessage(`{"a":[1]}`)}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if q.Limit != 100 {
		t.Errorf("limit %d", q.Limit)
	}
}

func TestSplitInsert(t *testing.T) {
	tasks := make([]backend.NewTask, 2005)
	for i := range tasks {
		tasks[i].Task.ID = "task"
	}
	tasks[1].Task.Payload = make([]byte, 5<<20) // larger than a part
	var sizes []int
	for part := range backend.SplitInsert(tasks, 4<<20) {
		sizes = append(sizes, len(part))
	}
	if want := []int{1, 1, 1000, 1000, 3}; !slices.Equal(sizes, want) {
		t.Errorf("parts of %v tasks, want %v", sizes, want)
	}
}
