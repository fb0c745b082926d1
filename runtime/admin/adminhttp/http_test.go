package adminhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/memory"
)

var numbers = af.Worker{Name: "numbers", Type: "Numbers", Max: 2, Weight: 1}

type work struct{}

func (*work) Run(ctx context.Context, n int) error {
	af.LoggerFrom(ctx).Info("got", "n", n)
	if n < 0 {
		return af.Permanent(af.NewError(af.ErrOutOfRange, "negative"))
	}
	return nil
}

type text struct {
	Text string `json:"text"`
}

type echo struct{}

// start returns an App with a worker and a service.
func start(t *testing.T) *af.App { return startOn(t, memory.New()) }

func startOn(t *testing.T, b af.Backend) *af.App {
	t.Helper()
	app, err := af.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterVoidWorker(app, numbers, &work{})
	af.RegisterService(app, af.Service{Name: "echo", Type: "Echo", Concurrency: 2}, &echo{},
		af.Bind(&af.Method[text, text]{Service: "echo", Name: "Say"},
			func(_ context.Context, _ *echo, s text) (text, error) { return s, nil }),
		af.Bind(&af.Method[text, text]{Service: "echo", Name: "Fail"},
			func(_ context.Context, _ *echo, s text) (text, error) {
				return s, af.NewError(af.ErrOutOfRange, "no such text: "+s.Text)
			}))
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	return app
}

// serve returns a client of an API that is served.
func serve(t *testing.T, api admin.API, o adminhttp.Options) (admin.API, *httptest.Server) {
	t.Helper()
	h, err := adminhttp.Handler(api, o)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", h))
	server := httptest.NewUnstartedServer(mux)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	client, err := adminhttp.NewClient(server.URL+"/ops/", adminhttp.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A request that changes something is refused before its body is read, its path is known or its method is right.
func TestReadersChangeNothing(t *testing.T) {
	var none admin.API // a call that reaches it panics
	user := admin.User{Name: "ann", Rights: admin.ReadOnly()}
	_, server := serve(t, none, adminhttp.Options{
		Authorize: func(*http.Request) (admin.User, error) { return user, nil },
	})
	paths := []string{"none", ""}
	for _, r := range adminhttp.Routes() {
		paths = append(paths, r.Path)
		writes := reflect.TypeFor[admin.Writer]()
		if _, changes := writes.MethodByName(r.Name); changes != (r.Method == http.MethodPost) {
			t.Errorf("%s is a %s", r.Name, r.Method)
		}
	}
	for _, path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/ops"+adminhttp.Prefix+path,
				strings.NewReader("{"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "ann") {
				t.Errorf("%s %s: %d, %s, %v", method, path, resp.StatusCode, body, err)
			}
		}
	}
}

func TestRoutesCoverTheAPI(t *testing.T) {
	routes, names := adminhttp.Routes(), map[string]bool{}
	for _, r := range routes {
		names[r.Name] = true
	}
	api := reflect.TypeFor[admin.API]()
	for i := range api.NumMethod() {
		if !names[api.Method(i).Name] {
			t.Errorf("no route of %s", api.Method(i).Name)
		}
	}
	if len(names) != len(routes) || len(routes) != api.NumMethod() {
		t.Errorf("%d routes of %d methods", len(routes), api.NumMethod())
	}
}

func TestBadRequests(t *testing.T) {
	h, err := adminhttp.Handler(admin.New(start(t)), adminhttp.Options{Authorize: adminhttp.Anyone})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/ops", h)) // without timeouts: one request is large
	t.Cleanup(server.Close)
	for _, test := range []struct {
		method, path, kind, body string
		status                   int
	}{
		{"GET", "none", "", "", 404},
		{"POST", "none", "application/json", "{}", 404},
		{"GET", "task/stop", "", "", 405},
		{"POST", "tasks", "application/json", "{}", 405},
		{"GET", "tasks?x=1", "", "", 400},
		{"GET", "tasks?limit=1&limit=2", "", "", 400},
		{"GET", "tasks?limit=x", "", "", 400},
		{"POST", "task/stop", "text/plain", `{"args":{"id":"a"}}`, 400},
		{"POST", "task/stop", "application/json", `{"args":{"ID2":"a"}}`, 400},
		{"POST", "task/stop", "application/json", `{"args":{"id":"a"}} {}`, 400},
		{"POST", "task/stop", "application/json", `{"args":{"id":"` + strings.Repeat("a", 21<<20) + `"}}`, 429},
		{"POST", "task/stop", "application/json", `{"args":{"id":"a"}}`, 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+"/ops"+adminhttp.Prefix+test.path,
			strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", test.kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.status || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d", test.method, test.path, resp.StatusCode)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/ops"+adminhttp.Prefix+"task/stop", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://evil.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
}

func TestHandlerNeedsAuthorize(t *testing.T) {
	if _, err := adminhttp.Handler(nil, adminhttp.Options{}); !errors.Is(err, af.ErrInvalidArgument) {
		t.Error(err)
	}
}

// The outcome of a change is unknown if its answer is lost, and not sent if there was no connection.
func TestOutcomeOfLostAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler) // cuts the connection
	}))
	client, err := adminhttp.NewClient(server.URL, adminhttp.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var e *af.Error
	err = client.Stop(t.Context(), "a", admin.Action{})
	if !errors.As(err, &e) || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeUnknown {
		t.Errorf("cut: %#v", err)
	}
	server.Close()
	err = client.Stop(t.Context(), "a", admin.Action{})
	if !errors.As(err, &e) || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent {
		t.Errorf("closed: %#v", err)
	}
}

// A stream outlasts the server's timeouts, and ends when the server shuts down.
func TestShutdownEndsStreams(t *testing.T) {
	client, server := serve(t, admin.New(start(t)), adminhttp.Options{Authorize: adminhttp.Anyone})
	begun := time.Now()
	down := make(chan error, 1)
	var last error
	for tick, err := range client.Watch(t.Context(), admin.WatchQuery{Kinds: []admin.Kind{admin.KindHealth}}) {
		if last = err; err == nil && tick.Kind == admin.KindStart {
			time.AfterFunc(1500*time.Millisecond, func() { down <- server.Config.Shutdown(t.Context()) })
		}
	}
	if time.Since(begun) < time.Second || !errors.Is(last, af.ErrUnavailable) ||
		!strings.Contains(last.Error(), "shutting") {
		t.Errorf("ended after %v: %v", time.Since(begun), last)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// docs/admin.md lists all routes.
func TestDocsListRoutes(t *testing.T) {
	text, err := os.ReadFile("../../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range adminhttp.Routes() {
		if row := fmt.Sprintf("| `%s` | %s | `%s` |", r.Name, r.Method, r.Path); !strings.Contains(string(text), row) {
			t.Errorf("missing: %s", row)
		}
	}
}
