package dashboard_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/dashboard"
)

// pipes is a listener whose connections have no buffers, and run in virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// ask opens a connection and sends a request.
func (p *pipes) ask(t *testing.T, path string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	p.conns <- there
	if _, err := fmt.Fprintf(here, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	return here
}

// virtually serves a dashboard over pipes.
func virtually(t *testing.T, server *http.Server) (*pipes, af.Queue[any, any]) {
	app, q := start(t)
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server.Handler = dashboard.Handler(app, everything)
	done := make(chan error, 1)
	go func() { done <- server.Serve(p) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return p, q
}

// A stream outlasts the limits that a server sets for pages, as it has its own. It has comments while nothing happens.
func TestStreamOutlastsTimeouts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, q := virtually(t, &http.Server{WriteTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second})
		id := "late"
		c := p.ask(t, "/events?task="+id)
		defer c.Close()
		until(t, c, `{"kind":"start"}`)
		begun := time.Now()
		for time.Since(begun) < 5*time.Minute {
			until(t, c, ": still here")
		}
		go func() {
			if _, err := q.Submit(t.Context(), "x", af.TaskID(id)); err != nil {
				t.Error(err)
			}
		}()
		until(t, c, `"ids":["`+id+`"]`)
	})
}

// A client that does not read is cut off after a while, and holds neither a stream nor a page.
func TestSlowReadersAreCutOff(t *testing.T) {
	for _, path := range []string{"/events", "/"} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				p, _ := virtually(t, &http.Server{})
				c := p.ask(t, path)
				defer c.Close()
				until(t, c, "HTTP/1.1 200 OK")
				time.Sleep(2 * time.Minute)
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				rest, err := io.ReadAll(c)
				if err != nil || bytes.Contains(rest, []byte("</html>")) {
					t.Errorf("it is open: %v", err)
				}
			})
		})
	}
}

// At shutdown, open streams end at once.
func TestShutdownWithOpenStreams(t *testing.T) {
	app, q := start(t)
	server := httptest.NewServer(dashboard.Handler(app, everything))
	defer server.Close()
	server.Client().Timeout = time.Minute
	id, err := q.Submit(t.Context(), "wait")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.StopTask(t.Context(), id) }() // it would not end by itself
	var open []*http.Response
	for i := range 20 {
		path := []string{"/events", "/events?task=" + id, "/tasks/" + id + "/log"}[i%3]
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		until(t, resp.Body, ": open")
		open = append(open, resp)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begun := time.Now()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	for _, resp := range open {
		until(t, resp.Body, "event: end")
	}
}

// Over HTTP/2, a stream outlasts the server's limits, and one connection has streams and pages.
func TestHTTP2(t *testing.T) {
	app, q := start(t)
	server := httptest.NewUnstartedServer(dashboard.Handler(app, everything))
	server.EnableHTTP2 = true
	server.Config.WriteTimeout, server.Config.ReadTimeout = 2*time.Second, 2*time.Second
	server.StartTLS()
	defer server.Close()
	server.Client().Timeout = time.Minute
	resp, err := server.Client().Get(server.URL + "/events?task=x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatal(resp.Proto)
	}
	until(t, resp.Body, `{"kind":"start"}`)
	for begun := time.Now(); time.Since(begun) < 3*time.Second; { // longer than the limits
		page, err := server.Client().Get(server.URL + "/queues")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(page.Body)
		_ = page.Body.Close()
		if err != nil || !bytes.Contains(body, []byte("</html>")) {
			t.Fatal(err)
		}
	}
	if _, err := q.Submit(t.Context(), "y", af.TaskID("x")); err != nil {
		t.Fatal(err)
	}
	until(t, resp.Body, `"ids":["x"]`)
}

// Proxies are told to pass events on at once and as they are. One that collects an answer before it passes it on keeps
// the script waiting, which then reads the page now and then: pages and their checks pass such a proxy.
func TestProxies(t *testing.T) {
	app, _ := start(t)
	server := httptest.NewServer(dashboard.Handler(app, everything))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	collects := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			return err
		},
	}
	for name, proxy := range map[string]*httputil.ReverseProxy{
		"passes_on": {Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}, "collects": collects,
	} {
		t.Run(name, func(t *testing.T) {
			front := httptest.NewServer(proxy)
			defer front.Close()
			client := front.Client()
			ask := func(path, tag string) (*http.Response, error) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if name == "collects" && path == "/events" {
					ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
				}
				t.Cleanup(cancel)
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if tag != "" {
					r.Header.Set("If-None-Match", tag)
				}
				return client.Do(r)
			}
			page, err := ask("/queues", "")
			if err != nil {
				t.Fatal(err)
			}
			_ = page.Body.Close()
			again, err := ask("/queues", page.Header.Get("Etag"))
			if err != nil || again.StatusCode != http.StatusNotModified {
				t.Fatalf("%v, %v", again, err)
			}
			_ = again.Body.Close()
			events, err := ask("/events", "")
			if name == "collects" {
				if err == nil {
					t.Error("the proxy does not collect")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer events.Body.Close()
			for header, want := range map[string]string{"X-Accel-Buffering": "no", "Content-Type": "text/event-stream",
				"Cache-Control": "no-store, no-transform", "Content-Encoding": "", "Content-Length": ""} {
				if got := events.Header.Get(header); got != want {
					t.Errorf("%s: %q", header, got)
				}
			}
			until(t, events.Body, `{"kind":"start"}`)
		})
	}
}

// A page of a large or deep payload has a bounded size.
func TestHostileSizes(t *testing.T) {
	app, q := start(t)
	many := make([]map[string]string, 45_000)
	for i := range many {
		many[i] = map[string]string{"a": evil}
	}
	var deep any = evil
	for range 5_000 { // what encoding/json can write in a test; stored JSON is never nested deeper than 10,000
		deep = []any{map[string]any{"a": deep}}
	}
	for name, payload := range map[string]any{"long": strings.Repeat("x ", 2<<20-8), "many": many, "deep": deep} {
		id := run(t, app, q, payload)
		h := dashboard.Handler(app, everything)
		for _, path := range []string{"/tasks/" + id, "/tasks", "/"} {
			status, page, _ := get(t, h, path)
			if status != http.StatusOK || len(page) > 1<<20 {
				t.Errorf("%s %s: %d, %d bytes", name, path, status, len(page))
			}
			if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") {
				t.Errorf("%s %s has what comes from the system", name, path)
			}
		}
		status, part, _ := get(t, h, "/tasks/"+id+"/payload")
		if status != http.StatusOK || !json.Valid([]byte(part)) {
			t.Errorf("%s: %d, %d bytes", name, status, len(part))
		}
	}
}

// What a browser loads on its first visit is small, what it loads later smaller, and nothing if the page is the same.
func TestTraffic(t *testing.T) {
	app, q := start(t)
	for i := range 60 {
		run(t, app, q, map[string]any{"user": i, "text": strings.Repeat("some text ", 20)})
	}
	h := dashboard.Handler(app, everything)
	load := func(path string, headers ...string) (status, sent int, body []byte, header http.Header) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		sent, body = w.Body.Len(), w.Body.Bytes()
		if w.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(w.Body)
			if err == nil {
				body, err = io.ReadAll(z)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return w.Code, sent, body, w.Header()
	}
	for _, path := range []string{"/", "/tasks", "/queues/things", "/jobs", "/services", "/machines", "/audit"} {
		_, plain, page, header := load(path)
		_, first, body, _ := load(path, "Accept-Encoding", "br;q=1.0, gzip;q=0.8")
		if !bytes.Equal(page, body) {
			t.Errorf("%s differs when it is compressed", path)
		}
		packed := first
		for _, m := range regexp.MustCompile(`(?:href|src)="(/assets/[^"]*)"`).FindAllSubmatch(page, -1) {
			asset := string(m[1])
			_, size, _, h := load(asset)
			plain += size
			if cached := h.Get("Cache-Control"); !strings.Contains(cached, "immutable") {
				t.Errorf("%s: %s", asset, cached)
			}
			_, size, _, _ = load(asset, "Accept-Encoding", "gzip")
			packed += size
			if status, size, _, _ := load(asset, "If-None-Match", h.Get("Etag")); status != 304 || size > 0 {
				t.Errorf("%s: %d with %d bytes", asset, status, size)
			}
		}
		tag := header.Get("Etag")
		status, again, _, _ := load(path, "If-None-Match", tag)
		t.Logf("%-16s %6d bytes, %6d compressed; the page alone %6d, compressed %6d, unchanged %d", path, plain, packed,
			len(page), first, again)
		if plain > 150_000 || packed > 40_000 || status != http.StatusNotModified || again != 0 {
			t.Errorf("%s: %d bytes, %d compressed, %d with %d bytes if unchanged", path, plain, packed, status, again)
		}
		if _, size, _, _ := load(path, "Accept-Encoding", "gzip", "Sec-Fetch-Site", "cross-site"); size != len(page) {
			t.Errorf("%s is compressed for another site", path)
		}
		if _, size, _, _ := load(path, "Accept-Encoding", "gzip;q=0"); size != len(page) {
			t.Errorf("%s is compressed for a client that can't read it", path)
		}
	}
}
