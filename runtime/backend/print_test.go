package backend_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

const secret = "password=hunter2"

// logged returns the attribute x of a record, without the record's other attributes, as each handler of slog writes it.
func logged(t *testing.T, x any) (text, inJSON string) {
	t.Helper()
	only := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key != "x" {
			return slog.Attr{}
		}
		return a
	}}
	var b, j bytes.Buffer
	slog.New(slog.NewTextHandler(&b, only)).Info("", "x", x)
	slog.New(slog.NewJSONHandler(&j, only)).Info("", "x", x)
	return strings.TrimSpace(b.String()), strings.TrimSpace(j.String())
}

func TestTasksPrintWithoutPayloads(t *testing.T) {
	body := json.RawMessage(`"` + secret + `"`)
	task := backend.Task{
		ID: "K3", Queue: "resize", Status: backend.StatusFailed, Attempt: 2, Payload: body, Result: body, Progress: body,
		Log: []string{secret},
	}
	failed := task
	failed.Error = &backend.TaskError{Code: backend.ErrNotFound, Message: "no such picture",
		Details: backend.NewError("", "", secret).Details}
	var none *backend.TaskError
	for _, tt := range []struct {
		name                  string
		value                 any
		printed, text, inJSON string
	}{
		{"task", task, `task K3 of queue "resize": failed, attempt 2`,
			`x.id=K3 x.queue=resize x.status=failed x.attempt=2`,
			`{"x":{"id":"K3","queue":"resize","status":"failed","attempt":2}}`},
		{"pointer", &failed, `task K3 of queue "resize": failed, attempt 2, not_found: no such picture`,
			`x.id=K3 x.queue=resize x.status=failed x.attempt=2 x.error="not_found: no such picture"`,
			`{"x":{"id":"K3","queue":"resize","status":"failed","attempt":2,"error":"not_found: no such picture"}}`},
		{"error", failed.Error, `not_found: no such picture`, `x="not_found: no such picture"`,
			`{"x":"not_found: no such picture"}`},
		{"bare_code", &backend.TaskError{Code: backend.ErrAborted}, `aborted`, `x=aborted`, `{"x":"aborted"}`},
		{"no_error", none, ``, `x=<nil>`, `{"x":null}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, format := range []string{"%v", "%+v", "%s"} {
				if got := fmt.Sprintf(format, tt.value); got != tt.printed {
					t.Errorf("%s prints %s, want %s", format, got, tt.printed)
				}
			}
			text, inJSON := logged(t, tt.value)
			if text != tt.text || inJSON != tt.inJSON {
				t.Errorf("logged\n%s\n%s\nwant\n%s\n%s", text, inJSON, tt.text, tt.inJSON)
			}
		})
	}
}

func TestErrOfTaskError(t *testing.T) {
	var none *backend.TaskError
	if err := none.Err(); err != nil {
		t.Errorf("no error: %v", err)
	}
	err := (&backend.TaskError{Code: backend.ErrNotFound, Message: "no",
		Details: backend.NewError("", "", 7).Details}).Err()
	if n, ok := backend.Detail[int](err); !ok || n != 7 {
		t.Errorf("detail %d, %v", n, ok)
	}
	if e := backend.Coded(err); e.Code != backend.ErrNotFound || e.Message != "no" ||
		e.Outcome != backend.OutcomeAnswered {
		t.Errorf("%#v", e)
	}
}
