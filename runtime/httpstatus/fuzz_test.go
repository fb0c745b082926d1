package httpstatus_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// Whatever a server sends, Read returns a valid, bounded error with the status's meaning, which Write can send again.
func FuzzRead(f *testing.F) {
	f.Add(404, httpstatus.ContentType, `{"code":"not_found","detail":"no item","outcome":"answered"}`)
	f.Add(503, "application/json", `{"code":"unavailable","message":"m","details":[{"type":"x","value":{"a":1}}]}`)
	f.Add(429, httpstatus.ContentType,
		`{"code":"not_found","code":7,"detail":"\ud800","details":[{"type":"x","value":null}]}`)
	f.Add(200, "text/plain", "")
	f.Add(502, "text/html; charset", "<html>")
	f.Add(-1, httpstatus.ContentType, `[[[[`)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		err := httpstatus.Read(response(status, kind, body))
		if status >= 100 && status < 400 {
			if err != nil {
				t.Fatalf("%d: %v", status, err)
			}
			return
		}
		var e *af.Error
		if !errors.As(err, &e) {
			t.Fatalf("got %v", err)
		}
		if !slices.Contains(backend.Codes(), e.Code) || !utf8.ValidString(e.Message) || e.Message == "" ||
			len(e.Message) > 8<<10 || e.Outcome.String() == "" {
			t.Errorf("got %#v", e)
		}
		if status != httpstatus.Of(e.Code) && e.Code != httpstatus.Code(status) {
			t.Errorf("%d is %s", status, e.Code)
		}
		size := 0
		for _, d := range e.Details {
			if size += len(d.Value); !json.Valid(d.Value) {
				t.Errorf("detail %q", d.Value)
			}
		}
		if size > 64<<10 {
			t.Errorf("%d bytes of details", size)
		}
		w := httptest.NewRecorder()
		p := httpstatus.ProblemOf(e)
		p.Write(w)
		var again *af.Error
		if err := httpstatus.Read(w.Result()); !errors.As(err, &again) || again.Code != e.Code || again.Outcome != e.Outcome {
			t.Errorf("%+v is read as %+v", e, err)
		}
		if p.Detail != "" && again.Message != e.Message {
			t.Errorf("%q is read as %q", e.Message, again.Message)
		}
		if len(p.Details) != len(again.Details) && len(w.Body.Bytes()) <= 64<<10 {
			t.Errorf("details: %s", cmp.Diff(e.Details, again.Details))
		}
	})
}
