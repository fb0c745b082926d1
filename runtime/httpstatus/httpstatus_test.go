package httpstatus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// Every code has the status that Connect and gRPC gateways give it, and a status has a code of its class.
func TestStatusesOfCodes(t *testing.T) {
	want := map[af.Code]int{
		"canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404,
		"already_exists": 409, "permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400,
		"aborted": 409, "out_of_range": 400, "unimplemented": 501, "internal": 500, "unavailable": 503, "data_loss": 500,
		"unauthenticated": 401, "": 200, "nonsense": 500,
	}
	if len(want) != len(backend.Codes())+2 {
		t.Errorf("%d codes", len(want))
	}
	for code, status := range want {
		if got := httpstatus.Of(code); got != status {
			t.Errorf("%s is %d, want %d", code, got, status)
		}
	}
}

func TestCodesOfStatuses(t *testing.T) {
	for status := range 1000 {
		code := httpstatus.Code(status)
		switch back := httpstatus.Of(code); {
		case status >= 100 && status < 400 && code != "":
			t.Errorf("%d is %s, want no error", status, code)
		case status >= 400 && status < 500 && status != 405 && status != 408 && (back < 400 || back > 499):
			t.Errorf("%d is %s, whose status is %d", status, code, back)
		case (status < 100 || status > 499) && back < 500:
			t.Errorf("%d is %s, whose status is %d", status, code, back)
		}
	}
	for status, want := range map[int]af.Code{
		400: "invalid_argument", 404: "not_found", 409: "aborted", 412: "failed_precondition", 413: "resource_exhausted",
		418: "invalid_argument", 429: "resource_exhausted", 499: "canceled", 500: "internal", 502: "unavailable",
		503: "unavailable", 504: "deadline_exceeded", 599: "unknown", 0: "unknown", 204: "", 304: "",
	} {
		if got := httpstatus.Code(status); got != want {
			t.Errorf("%d is %q, want %q", status, got, want)
		}
	}
}

type quota struct{ Left int }

// serve writes err as a response and reads it as a client does. It also returns the body and the log.
func serve(t *testing.T, method string, err error) (resp *http.Response, body, log string, read error) {
	t.Helper()
	var lines strings.Builder
	defer stdlog.SetOutput(stdlog.Writer()) // which SetDefault changes
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&lines, nil)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpstatus.Write(w, r, err)
	}))
	defer server.Close()
	req, rerr := http.NewRequestWithContext(t.Context(), method, server.URL+"/price", nil)
	if rerr != nil {
		t.Fatal(rerr)
	}
	resp, rerr = server.Client().Do(req)
	if rerr != nil {
		t.Fatal(rerr)
	}
	defer resp.Body.Close()
	text, rerr := io.ReadAll(resp.Body)
	if rerr != nil {
		t.Fatal(rerr)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(text)))
	return resp, string(text), lines.String(), httpstatus.Read(resp)
}

// An error that a handler returned on purpose arrives whole.
func TestErrorsCrossHTTP(t *testing.T) {
	sent := af.NewError(af.ErrResourceExhausted, "no <quota> left", quota{0}).With(af.OutcomeAnswered)
	resp, body, log, err := serve(t, http.MethodPost, fmt.Errorf("calling the shop at 10.0.0.7: %w", sent))
	if resp.StatusCode != 429 || resp.Header.Get("Content-Type") != "application/problem+json" ||
		resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Retry-After") != "" {
		t.Errorf("%d, %v", resp.StatusCode, resp.Header)
	}
	var e *af.Error
	if !errors.As(err, &e) || !cmp.Equal(*e, *sent, cmp.AllowUnexported(af.Error{})) {
		t.Errorf("got %+v, want %+v", err, sent)
	}
	if q, ok := af.Detail[quota](err); !ok || q.Left != 0 {
		t.Errorf("%+v, %t", q, ok)
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"type": "about:blank", "title": "Too Many Requests", "status": 429.0, "detail": "no <quota> left",
		"code": "resource_exhausted", "outcome": "answered", "retryable": false,
	} {
		if members[name] != want {
			t.Errorf("%s is %v, want %v", name, members[name], want)
		}
	}
	if log != "" || strings.Contains(body, "10.0.0.7") {
		t.Errorf("log %q, body %s", log, body)
	}
}

// Texts that describe the system are logged, not sent.
func TestInternalTextsAreNotSent(t *testing.T) {
	const secret = "/srv/af.db at 10.0.0.7"
	for name, test := range map[string]struct {
		err  error
		want af.Error
		log  string
	}{
		"unknown": {errors.New(secret), af.Error{Code: af.ErrUnknown, Message: "Internal Server Error"}, "ERROR"},
		"nil":     {nil, af.Error{Code: af.ErrInternal, Message: "Internal Server Error"}, ""},
		"code":    {af.ErrNotFound, af.Error{Code: af.ErrNotFound, Message: "Not Found", Outcome: af.OutcomeUnknown}, ""},
		"wrapped_code": {fmt.Errorf(secret+": %w", af.ErrNotFound), af.Error{Code: af.ErrNotFound, Message: "Not Found"},
			"ERROR"},
		"invented_code": {af.NewError("secret_"+secret, ""), af.Error{Code: af.ErrInternal,
			Message: "Internal Server Error"}, ""},
		"internal": {af.NewError(af.ErrInternal, secret, quota{1}).With(af.OutcomeAnswered),
			af.Error{Code: af.ErrInternal, Message: "Internal Server Error", Outcome: af.OutcomeAnswered}, "ERROR"},
		"no_instance": {backend.NoInstance("shop " + secret), af.Error{Code: af.ErrUnavailable,
			Message: "Service Unavailable", Outcome: af.OutcomeNotSent}, "WARN"},
		"of_the_runtime": {af.NewError(af.ErrFailedPrecondition, secret).With(af.OutcomeNotSent),
			af.Error{Code: af.ErrFailedPrecondition, Message: "Bad Request", Outcome: af.OutcomeNotSent}, "ERROR"},
		"context": {context.DeadlineExceeded, af.Error{Code: af.ErrDeadlineExceeded, Message: "Gateway Timeout"}, "WARN"},
		"gone": {fmt.Errorf(secret+": %w", context.Canceled), af.Error{Code: af.ErrCanceled,
			Message: "Client Closed Request"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body, log, err := serve(t, http.MethodGet, test.err)
			var e *af.Error
			if !errors.As(err, &e) || !cmp.Equal(*e, test.want, cmp.AllowUnexported(af.Error{})) {
				t.Errorf("got %+v, want %+v", e, test.want)
			}
			if strings.Contains(body, "srv") || strings.Contains(body, "details") {
				t.Errorf("body %s", body)
			}
			if test.log == "" && log != "" || !strings.Contains(log, test.log) ||
				test.log != "" && !strings.Contains(log, "path=/price") {
				t.Errorf("log %q, want level %s", log, test.log)
			}
			if retry := resp.Header.Get("Retry-After"); (retry != "") != (name == "no_instance") {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

// A response to HEAD has the status and no body.
func TestHead(t *testing.T) {
	resp, body, _, err := serve(t, http.MethodHead, af.Errorf(af.ErrNotFound, "no item"))
	if resp.StatusCode != 404 || body != "" || !errors.Is(err, af.ErrNotFound) {
		t.Errorf("%d, %q, %v", resp.StatusCode, body, err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	long := strings.Repeat("ü\xff", 10_000)
	for name, p := range map[string]httpstatus.Problem{
		"status":  {Code: af.ErrNotFound, Status: 204},
		"zero":    {},
		"detail":  {Code: af.ErrNotFound, Detail: long},
		"details": {Code: af.ErrNotFound, Details: []af.ErrorDetail{{Type: "x", Value: []byte(`"` + long + long + `"`)}}},
		"no_json": {Code: af.ErrNotFound, Details: []af.ErrorDetail{{Type: "x", Value: json.RawMessage(`{`)}}},
		"unused":  {Code: af.ErrNotFound, Status: 1000},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Length", "7")
		p.Write(w)
		err := httpstatus.Read(w.Result())
		want := p.Code
		if name == "zero" {
			want = af.ErrInternal
		}
		if af.CodeOf(err) != want || w.Body.Len() > 64<<10 || w.Header().Get("Content-Length") != "" {
			t.Errorf("%s: %v, %d bytes", name, err, w.Body.Len())
		}
	}
}

// response returns a response as a proxy or another program may send it.
func response(status int, kind, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

func TestReadTrustsTheStatusOnly(t *testing.T) {
	const problem = httpstatus.ContentType
	broken := response(503, problem, "")
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"detail":`), failing{}))
	noBody := response(404, problem, "")
	noBody.Body = nil
	missing := af.Error{Code: "not_found", Message: "HTTP status 404 Not Found", Outcome: af.OutcomeAnswered}
	for name, test := range map[string]struct {
		resp *http.Response
		want *af.Error // nil for no error
	}{
		"ok":           {response(200, problem, `{"code":"internal"}`), nil},
		"no_content":   {&http.Response{StatusCode: 204}, nil},
		"not_modified": {&http.Response{StatusCode: 304}, nil},
		"page": {response(502, "text/html", "<h1>"),
			&af.Error{Code: "unavailable", Message: "HTTP status 502 Bad Gateway"}},
		"no_type": {response(404, "", "{}"), &missing},
		"no_body": {noBody, &missing},
		"broken":  {broken, &af.Error{Code: "unavailable", Message: "HTTP status 503 Service Unavailable"}},
		"large": {response(503, problem, `{"detail":"x","pad":"`+strings.Repeat("x", 256<<10)+`"}`),
			&af.Error{Code: "unavailable", Message: "HTTP status 503 Service Unavailable"}},
		"other_code": {response(404, problem+"; charset=utf-8", `{"code":"unavailable","detail":"d","outcome":"not_sent"}`),
			&af.Error{Code: "not_found", Message: "d", Outcome: af.OutcomeNotSent}},
		"wrong_types": {response(429, problem, `{"code":7,"detail":{},"title":"t","outcome":[],`+
			`"details":[1,{"type":"x"},{"type":"y","value":2}]}`),
			&af.Error{Code: "resource_exhausted", Message: "t", Outcome: af.OutcomeAnswered,
				Details: []af.ErrorDetail{{Type: "y", Value: json.RawMessage("2")}}}},
		"connect": {response(409, "application/json", `{"code":"already_exists","message":"m"}`),
			&af.Error{Code: "already_exists", Message: "m", Outcome: af.OutcomeAnswered}},
		"array": {response(400, problem, `[1]`), &af.Error{Code: "invalid_argument",
			Message: "HTTP status 400 Bad Request", Outcome: af.OutcomeAnswered}},
		"timeout": {response(408, problem, ``),
			&af.Error{Code: "deadline_exceeded", Message: "HTTP status 408 Request Timeout"}},
		"strange": {response(0, problem, ``), &af.Error{Code: "unknown", Message: "HTTP status 0 Error"}},
		"many": {response(400, problem, `{"detail":"d","details":[`+strings.Repeat(`{"type":"x","value":1},`, 100)+`1]}`),
			&af.Error{Code: "invalid_argument", Message: "d", Outcome: af.OutcomeAnswered}},
	} {
		t.Run(name, func(t *testing.T) {
			err := httpstatus.Read(test.resp)
			if test.want == nil {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			var e *af.Error
			if !errors.As(err, &e) || !cmp.Equal(e, test.want, cmp.AllowUnexported(af.Error{})) {
				t.Errorf("got %+v, want %+v", e, test.want)
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
