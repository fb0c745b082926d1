package dashboard_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/dashboard"
)

// A page is told what has changed, and the stream ends when the server shuts down.
func TestEvents(t *testing.T) {
	app, q := start(t)
	server := httptest.NewUnstartedServer(dashboard.Handler(app, everything))
	server.Config.WriteTimeout = 200 * time.Millisecond
	server.Start()
	defer server.Close()
	server.Client().Timeout = time.Minute // for an event that does not come
	request := func(path string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	id, err := q.Submit(t.Context(), "wait")
	if err != nil {
		t.Fatal(err)
	}
	events, log := request("/events?task="+id), request("/tasks/"+id+"/log")
	until(t, log.Body, "got ")
	for range 2 { // the watches have begun
		until(t, events.Body, `{"kind":"start"}`)
	}
	if err := app.StopTask(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	until(t, events.Body, `{"kind":"tasks","ids":["`+id+`"]}`)
	until(t, log.Body, "event: end")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.Config.Shutdown(ctx) }()
	until(t, events.Body, "event: end")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := server.Config.Shutdown(ctx); err != nil { // once more, as after one that took too long
		t.Error(err)
	}
}

// One page of a browser has the stream for the tasks of all.
func TestEventsOfSeveralTasks(t *testing.T) {
	app, q := start(t)
	server := httptest.NewServer(dashboard.Handler(app, everything))
	defer server.Close()
	server.Client().Timeout = time.Minute // for an event that does not come
	query := url.Values{"task": {"gone"}}
	for range 2 {
		id, err := q.Submit(t.Context(), "wait")
		if err != nil {
			t.Fatal(err)
		}
		query.Add("task", id)
	}
	resp, err := server.Client().Get(server.URL + "/events?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	until(t, resp.Body, ": open")
	for range len(query["task"]) + 1 { // each watch has begun
		until(t, resp.Body, `{"kind":"start"}`)
	}
	for _, id := range query["task"][1:] {
		if err := app.StopTask(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		until(t, resp.Body, `{"kind":"tasks","ids":["`+id+`"]}`)
	}
}

// until reads until a text.
func until(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var seen []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(seen), text); seen = append(seen, one...) {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Fatalf("%q does not come after %q: %v", text, seen, err)
		}
	}
}
