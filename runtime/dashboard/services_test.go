package dashboard_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/dashboard"
)

type (
	echo     struct{}
	echoArgs struct {
		Text  string         `json:"text"`
		Times int            `json:"times"`
		Loud  bool           `json:"loud"`
		More  map[string]any `json:"more"`
	}
	echoReply struct {
		Said string         `json:"said"`
		More map[string]any `json:"more"`
	}
	detail struct {
		Hint string `json:"hint"`
	}
)

var say = af.Method[echoArgs, echoReply]{Service: "echo", Name: "Say", Fingerprint: "f1", Idempotent: true,
	Signature: "(text string, times int, loud bool, more map[string]any) (said string)",
	Doc:       "Say says a text several times."}

// odd has a signature that can't be read, and a hostile one.
var odd = af.Method[echoArgs, echoReply]{Service: "echo", Name: "Odd", Fingerprint: "f2", Signature: evil, Doc: evil}

// startEcho returns a started App that serves methods.
func startEcho(t *testing.T) *af.App {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		t.Fatal(err)
	}
	handle := func(_ context.Context, _ *echo, a echoArgs) (echoReply, error) {
		if a.Times < 0 {
			return echoReply{}, af.NewError(af.ErrOutOfRange, evil, detail{evil})
		}
		said := strings.Repeat(a.Text, a.Times)
		if a.Loud {
			said = strings.ToUpper(said)
		}
		return echoReply{Said: said, More: a.More}, nil
	}
	service := af.Service{Name: "echo", Type: "Echo", Concurrency: 4, Doc: "Echo repeats what it is told."}
	af.RegisterService(app, service, &echo{}, af.Bind(&say, handle), af.Bind(&odd, handle))
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	return app
}

func TestServices(t *testing.T) {
	plain, _ := start(t)
	_, page, _ := get(t, dashboard.Handler(plain, everything), "/services")
	contains(t, "no services", page, "No service is running")
	app := startEcho(t)
	h := dashboard.Handler(app, as(admin.AllRights()...), dashboard.Prefix("/ops"))
	_, page, _ = get(t, h, "/ops/services")
	contains(t, "services", page, "echo", "/ops/services/echo/Say", "times int", "idempotent", "no errors",
		"Echo repeats what it is told.", "Say says a text several times.")
	check(t, "services", page)
	for path, texts := range map[string][]string{
		"/ops/services/echo/Say": {`name="arg.text"`, `name="arg.times"`, `<select name="arg.loud"`,
			`<textarea name="arg.more"`, "Call Say", "Say says a text several times.", "Echo repeats what it is told."},
		"/ops/services/echo/Odd": {`name="args"`},
	} {
		_, page, _ = get(t, h, path)
		contains(t, path, page, texts...)
		check(t, path, page)
	}
	for _, path := range []string{"/ops/services/echo/None", "/ops/services/none/Say"} {
		if status, page, _ := get(t, h, path); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, page)
		}
		if status, page, _ := post(t, h, path+"/call", nil); status != http.StatusNotFound {
			t.Errorf("POST %s: %d %s", path, status, page)
		}
	}
	status, _, header := get(t, h, "/ops/services/echo/Say/call")
	if status != http.StatusSeeOther || header.Get("Location") != "/ops/services/echo/Say" {
		t.Errorf("reload: %d %v", status, header)
	}
}

// typed are the fields that show again what the viewer has typed, as it is.
var typed = regexp.MustCompile(`<input[^>]*>`)

func TestCall(t *testing.T) {
	app := startEcho(t)
	h := dashboard.Handler(app, as(admin.AllRights()...))
	for name, tt := range map[string]struct {
		method string
		form   url.Values
		status int
		texts  []string
	}{
		"fields": {"Say", url.Values{"arg.text": {`"ab"`}, "arg.times": {"2"}, "arg.loud": {"true"},
			"arg.more": {`{"n": 12345678901234567890}`}}, 200, []string{"succeeded", `&#34;AB&#34;&#34;AB&#34;`,
			"12345678901234567890"}},
		"defaults":   {"Say", nil, 200, []string{"succeeded"}},
		"hostile":    {"Say", url.Values{"arg.text": {evil}, "arg.times": {"1"}}, 200, []string{"succeeded", "&lt;script"}},
		"error":      {"Say", url.Values{"arg.times": {"-1"}}, 200, []string{"out_of_range", "answered with this error", "hint"}},
		"wrong type": {"Say", url.Values{"arg.times": {"many"}}, 200, []string{"invalid_argument"}},
		"bad JSON":   {"Say", url.Values{"arg.more": {`{"n":`}}, 400, []string{"more is not valid JSON", `{&#34;n&#34;:</textarea>`}},
		"timeout":    {"Say", url.Values{"timeout": {"1h"}}, 400, []string{"The timeout must be"}},
		"one text":   {"Odd", url.Values{"args": {`{"text":"x","times":3}`}}, 200, []string{"succeeded", "xxx"}},
		"no object":  {"Odd", url.Values{"args": {`[1]`}}, 400, []string{"must be a JSON object"}},
	} {
		if tt.form == nil {
			tt.form = url.Values{}
		}
		if !tt.form.Has("timeout") {
			tt.form.Set("timeout", "5s")
		}
		status, page, _ := post(t, h, "/services/echo/"+tt.method+"/call", tt.form)
		if status != tt.status {
			t.Errorf("%s: %d", name, status)
		}
		contains(t, name, page, tt.texts...)
		check(t, name, typed.ReplaceAllString(page, ""))
	}
	log, err := app.Audit(t.Context(), af.AuditQuery{Action: "service.call"})
	if err != nil || len(log.Entries) == 0 || log.Entries[0].By != "ann" {
		t.Errorf("%+v, %v", log, err)
	}
}

// A call needs the right submit, and its results the right payloads.
func TestCallRights(t *testing.T) {
	app := startEcho(t)
	for _, rights := range [][]admin.Right{admin.ReadOnly(), {admin.Read, admin.Operate, admin.Configure}} {
		h := dashboard.Handler(app, as(rights...))
		_, page, _ := get(t, h, "/services/echo/Say")
		if strings.Contains(page, `method="post"`) {
			t.Errorf("%v: the form is offered", rights)
		}
		for _, path := range []string{"/services/echo/Say/call", "/services/none/None/call"} {
			if status, page, _ := post(t, h, path, nil); status != http.StatusForbidden {
				t.Errorf("%v: POST %s: %d %s", rights, path, status, page)
			}
		}
	}
	h := dashboard.Handler(app, as(admin.Read, admin.Submit))
	_, page, _ := post(t, h, "/services/echo/Say/call",
		url.Values{"arg.text": {"the secret"}, "arg.times": {"2"}, "timeout": {"5s"}})
	contains(t, "result", page, "succeeded", "You may not see results")
	if strings.Contains(page, "the secretthe secret") {
		t.Error("the result is shown without the right to see it")
	}
	if log, err := app.Audit(t.Context(), af.AuditQuery{}); err != nil || len(log.Entries) != 1 {
		t.Errorf("%+v, %v", log, err)
	}
}

// What a call returns is redacted as what tasks have, in pages and in the API. The function knows the method.
func TestCallRedacted(t *testing.T) {
	app := startEcho(t)
	redact := dashboard.RedactPayload(func(queue string, _ json.RawMessage) json.RawMessage {
		return json.RawMessage(`{"hidden":"` + queue + `"}`)
	})
	h := dashboard.Handler(app, as(admin.AllRights()...), redact)
	for name, tt := range map[string]struct {
		form url.Values
		want string
	}{
		"result": {url.Values{"arg.text": {"the secret"}, "arg.times": {"2"}, "timeout": {"5s"}}, "succeeded"},
		"error":  {url.Values{"arg.times": {"-1"}, "timeout": {"5s"}}, "out_of_range"},
	} {
		_, page, _ := post(t, h, "/services/echo/Say/call", tt.form)
		contains(t, name, page, tt.want, "echo.Say", "hidden")
		if strings.Contains(page, "the secretthe secret") || strings.Contains(page, ">hint<") {
			t.Errorf("%s: what the method returned is shown: %s", name, page)
		}
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	api, err := adminhttp.NewClient(server.URL, adminhttp.ClientOptions{})
	testkit.Must(t, err)
	reply, err := api.Call(t.Context(), admin.Call{Service: "echo", Method: "Say",
		Args: json.RawMessage(`{"text":"the secret","times":2}`)}, admin.Action{By: "ann"})
	if string(reply) != `{"hidden":"echo.Say"}` || err != nil {
		t.Errorf("the API returns %s, %v", reply, err)
	}
}
