package browser

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/dashboard"
)

// A counter counts the streams of events that are open.
type counter struct {
	http.Handler
	open, begun atomic.Int64
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/events") {
		c.open.Add(1)
		c.begun.Add(1)
		defer c.open.Add(-1)
	}
	c.Handler.ServeHTTP(w, r)
}

func (c *counter) streams(t *testing.T, n int64) {
	t.Helper()
	testkit.Eventually(t, "the number of streams", func() bool { return c.open.Load() == n })
}

// All visible pages of a browser share a stream, which another page opens again when its owner is hidden or closed.
func TestTabsShareOneStream(t *testing.T) {
	s := start(t)
	c := &counter{Handler: dashboard.Handler(s.App, ann)}
	site := serve(t, "", c)
	var users []*user
	for range 8 {
		u := open(t, site, chrome.View{})
		u.goes("/tasks")
		u.live()
		users = append(users, u)
	}
	c.streams(t, 1)
	if n := c.begun.Load(); n != 1 {
		t.Errorf("8 pages have opened %d streams", n)
	}
	all := func(users []*user, id string) {
		t.Helper()
		s.submit(t, "log", af.TaskID(id))
		for _, u := range users {
			u.sees(`document.querySelector("[data-key=` + id + `]")`)
		}
	}
	all(users, "first")
	users[0].within(users[0].tab.Hide) // it has the stream
	for _, u := range users[1:] {
		u.live()
	}
	c.streams(t, 1)
	all(users[1:], "second")
	users[1].tab.Close()
	all(users[2:], "third")
	c.streams(t, 1)
	for _, u := range users[2:] {
		u.clean()
	}
}

func TestHiddenTabHasNoStream(t *testing.T) {
	s := start(t)
	waits := s.submit(t, "wait")
	s.reaches(t, waits, af.StatusRunning)
	c := &counter{Handler: dashboard.Handler(s.App, ann)}
	u := open(t, serve(t, "", c), chrome.View{})
	u.goes("/tasks/" + waits)
	u.live()
	c.streams(t, 1)
	u.within(u.tab.Hide)
	c.streams(t, 0)
	s.release()
	s.reaches(t, waits, af.StatusSuccess)
	u.within(u.tab.Show)
	u.reads("#why", "succeeded") // what it has missed
	c.streams(t, 1)
	u.clean()
}

func TestServerEndsWithOpenPages(t *testing.T) {
	s := start(t)
	waits := s.submit(t, "wait")
	s.reaches(t, waits, af.StatusRunning)
	site := serve(t, "", dashboard.Handler(s.App, ann))
	u := open(t, site, chrome.View{})
	u.goes("/tasks/" + waits) // it follows the log, too
	u.live()
	u.reads(".log", "begun")
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, site.server.Config.Shutdown(ctx))
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the server has taken %v to shut down", took)
	}
	u.reads("#live", "not updating")
}

// Streams outlast a server's WriteTimeout.
func TestStreamOutlastsWriteTimeout(t *testing.T) {
	const timeout = 2 * time.Second
	s := start(t)
	c := &counter{Handler: dashboard.Handler(s.App, ann)}
	u := open(t, serve(t, "", c, func(h *http.Server) { h.WriteTimeout = timeout }), chrome.View{})
	u.goes("/tasks")
	u.live()
	value[bool](u, "new Promise((done) => setTimeout(() => done(true), 3000))") // longer than the timeout
	s.submit(t, "log", af.TaskID("late"))
	u.sees(`document.querySelector("[data-key=late]")`)
	if n := c.begun.Load(); n != 1 {
		t.Errorf("%d streams were opened, want 1", n)
	}
	u.live()
	u.clean()
}

// Behind a proxy that passes answers on when they are complete, there is no stream. The page is read every 5 seconds.
func TestBufferingProxy(t *testing.T) {
	s := start(t)
	origin, err := url.Parse(serve(t, "", dashboard.Handler(s.App, ann)).url)
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(origin)
	buffering := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffered := httptest.NewRecorder()
		proxy.ServeHTTP(buffered, r)
		for name, values := range buffered.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(buffered.Code)
		_, _ = io.Copy(w, buffered.Body)
	})
	u := open(t, serve(t, "", buffering), chrome.View{})
	u.goes("/tasks")
	s.submit(t, "log", af.TaskID("polled"))
	u.sees(`document.querySelector("[data-key=polled]")`)
	u.reads("#live", "every 5 s")
	u.clean()
}
