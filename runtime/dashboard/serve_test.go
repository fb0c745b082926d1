package dashboard_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/dashboard"
)

// free is an address of this machine.
const free = "127.0.0.1:0"

// listen serves the dashboard of an App until the test ends.
func listen(t *testing.T, app *af.App, cfg config.Dashboard, opts ...dashboard.Option) *dashboard.Listener {
	t.Helper()
	l, err := dashboard.Listen(admin.New(app), cfg, opts...)
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// A program may log what it serves.
func TestListenerPrintsNoToken(t *testing.T) {
	l, err := dashboard.Listen(admin.New(nil), config.Dashboard{Listen: free, Write: true})
	testkit.Must(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	testkit.Must(t, l.Serve(ended))
	_, token, ok := strings.Cut(l.URL(), "token=")
	if !ok {
		t.Fatal(l.URL())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{l, *l} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, token) || strings.Contains(text, fmt.Sprintf("%x", token)) {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

// browser returns a client that keeps cookies and follows redirects.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	testkit.Must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}
}

// ask returns the status, the address after redirects, and the page. A form makes it a POST request.
func ask(t *testing.T, c *http.Client, address, host string, form url.Values) (int, *url.URL, string) {
	t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	testkit.Must(t, err)
	r.Host = host
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.Do(r)
	testkit.Must(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	testkit.Must(t, err)
	return resp.StatusCode, resp.Request.URL, string(page)
}

// Everyone may read. Only those who have opened the address with the token may change something.
func TestToken(t *testing.T) {
	app, _ := start(t)
	l := listen(t, app, config.Dashboard{Listen: free, Write: true}, dashboard.Operator("ann@work"))
	entry, err := url.Parse(l.URL())
	testkit.Must(t, err)
	base := "http://" + entry.Host
	pause := base + "/queues/things/pause"
	reader, writer := browser(t), browser(t)
	if status, _, page := ask(t, reader, base+"/queues", "", nil); status != 200 || !strings.Contains(page, "read-only") {
		t.Errorf("reading: %d %s", status, page)
	}
	for _, address := range []string{pause, pause + "?" + entry.RawQuery, base + "/nowhere"} { // a token is no right by itself
		if status, _, page := ask(t, reader, address, "", url.Values{}); status != 403 && status != 401 {
			t.Errorf("POST %s without a token: %d %s", address, status, page)
		}
	}
	wrong := base + "/?token=" + strings.Repeat("A", 26)
	if status, _, page := ask(t, reader, wrong, "", nil); status != 401 || !strings.Contains(page, "token") {
		t.Errorf("a wrong token: %d %s", status, page)
	}
	status, at, page := ask(t, writer, base+"/queues?x=1&"+entry.RawQuery, "", nil)
	if status != 200 || at.String() != base+"/queues?x=1" || strings.Contains(page, "read-only") ||
		!strings.Contains(page, "ann@work") {
		t.Errorf("with the token: %d at %s: %s", status, at, page)
	}
	secret := entry.Query().Get("token")
	cookies := writer.Jar.Cookies(entry)
	if len(secret) < 26 || len(cookies) != 1 || strings.Contains(page, secret) {
		t.Errorf("token %q, cookies %v", secret, cookies)
	}
	if status, _, page := ask(t, writer, pause, "", url.Values{"reason": {"tests"}}); status != 200 {
		t.Errorf("pausing with the token: %d %s", status, page)
	}
	if limits, err := app.QueueLimits(t.Context(), "things"); err != nil || !limits.Paused {
		t.Errorf("%+v, %v", limits, err)
	}
	log, err := app.Audit(t.Context(), af.AuditQuery{Limit: 1})
	if err != nil || len(log.Entries) != 1 || log.Entries[0].By != "ann@work" {
		t.Errorf("audit: %+v, %v", log, err)
	}
}

// Who may change nothing is told why, and how to get rights, on each page and when something is refused.
func TestHints(t *testing.T) {
	app, _ := start(t)
	rights := func(rights ...admin.Right) []dashboard.Option { return []dashboard.Option{as(rights...)} }
	for name, tt := range map[string]struct {
		write bool
		opts  []dashboard.Option
		want  string // "" for no hint
	}{
		"no_write":              {false, nil, "write: true in the section dashboard"},
		"no_token":              {true, nil, "open the address with the token"},
		"no_write_whatever_who": {false, rights(admin.AllRights()...), "write: true in the section dashboard"},
		"reader":                {true, rights(admin.ReadOnly()...), "dashboard.Authorize returns them"},
		"limited":               {true, rights(admin.Read, admin.Operate), "You lack: payloads, submit, configure."},
		"all":                   {true, rights(admin.AllRights()...), ""},
	} {
		l := listen(t, app, config.Dashboard{Listen: free, Write: tt.write}, tt.opts...)
		at, _, _ := strings.Cut(l.URL(), "?")
		_, _, page := ask(t, browser(t), at+"queues", "", nil)
		has := strings.Contains(page, `title="Why some actions are missing"`)
		if has != (tt.want != "") || !strings.Contains(page, tt.want) {
			t.Errorf("%s: want %q in %s", name, tt.want, page)
		}
		status, _, page := ask(t, browser(t), at+"queues/things/max", "", url.Values{"max": {"2"}})
		if (status == 403) != (tt.want != "") || !strings.Contains(page, tt.want) {
			t.Errorf("%s: %d, want %q in %s", name, status, tt.want, page)
		}
	}
}

// The cookie is not for scripts and other sites, and the redirect stays on this server.
func TestTokenCookie(t *testing.T) {
	app, _ := start(t)
	l := listen(t, app, config.Dashboard{Listen: free, Write: true})
	entry, err := url.Parse(l.URL())
	testkit.Must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for path, want := range map[string]string{"/": "/", "//evil.example/x": "/evil.example/x"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+entry.Host+path+"?"+entry.RawQuery, nil)
		testkit.Must(t, err)
		resp, err := transport.RoundTrip(r)
		testkit.Must(t, err)
		_ = resp.Body.Close()
		cookie := resp.Header.Get("Set-Cookie")
		if resp.StatusCode != 303 || resp.Header.Get("Location") != want || !strings.Contains(cookie, "HttpOnly") ||
			!strings.Contains(cookie, "SameSite=Strict") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
}

// A name that another site has resolve to this machine is refused, whatever the path.
func TestHostNames(t *testing.T) {
	app, _ := start(t)
	l := listen(t, app, config.Dashboard{Listen: free, Hosts: []string{"ops.example.com"}})
	if strings.Contains(l.URL(), "token") {
		t.Errorf("without write there is a token: %s", l.URL())
	}
	for host, want := range map[string]int{
		"": 200, "localhost": 200, "LOCALHOST:80": 200, "localhost.": 200, "127.0.0.1:1": 200, "[::1]:8090": 200, "[::1]": 200,
		"ops.example.com": 200, "Ops.Example.com:8090": 200,
		"example.com": 421, "evil.example": 421, "127.0.0.1.evil.example": 421, "192.0.2.1:8090": 421, "localhost.evil": 421,
	} {
		for _, path := range []string{"", "assets/app.js", "api/v1/overview"} {
			if status, _, page := ask(t, browser(t), l.URL()+path, host, nil); status != want {
				t.Errorf("%q %s: %d, want %d: %s", host, path, status, want, page)
			}
		}
	}
}

// An address that other machines reach needs a function that tells who may use it. Without
// write, it can allow no change.
func TestListenBeyondThisMachine(t *testing.T) {
	app, _ := start(t)
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:80"} {
		_, err := dashboard.Listen(admin.New(app), config.Dashboard{Listen: address})
		if af.CodeOf(err) != af.ErrInvalidArgument || !strings.Contains(err.Error(), "dashboard.Authorize") ||
			!strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, write := range []bool{true, false} {
		l := listen(t, app, config.Dashboard{Listen: "0.0.0.0:0", Write: write}, as(admin.AllRights()...))
		if strings.Contains(l.URL(), "token") {
			t.Errorf("with Authorize there is a token: %s", l.URL())
		}
		status, _, page := ask(t, browser(t), l.URL()+"queues/things/pause", "", url.Values{})
		if ok := status == 200; ok != write {
			t.Errorf("write %t: %d %s", write, status, page)
		}
	}
}

// Serve ends with the App, within a second, although a page is open. Its log has the address once.
func TestServe(t *testing.T) {
	app, log := logged(t)
	testkit.Must(t, dashboard.Serve(app, config.Config{})) // nothing is configured
	testkit.Must(t, dashboard.Serve(app, config.Config{Dashboard: &config.Dashboard{Listen: free, Write: true}}))
	testkit.Must(t, app.Start(t.Context()))
	found := regexp.MustCompile(`msg=dashboard .*url="?(http://127\.0\.0\.1:\d+/\?token=\w+)`).FindStringSubmatch(log.String())
	if found == nil {
		t.Fatalf("no address in the log:\n%s", log)
	}
	c := browser(t)
	if status, _, page := ask(t, c, found[1], "", nil); status != 200 || strings.Contains(page, "read-only") {
		t.Fatalf("%d %s", status, page)
	}
	events, err := c.Get(strings.Replace(found[1], "/?", "/events?", 1))
	testkit.Must(t, err)
	defer events.Body.Close()
	until(t, events.Body, ": open")
	testkit.Must(t, app.Shutdown(t.Context()))
	begun := time.Now()
	until(t, events.Body, "event: end")
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
	address, err := url.Parse(found[1])
	testkit.Must(t, err)
	testkit.Eventually(t, "the port is free", func() bool {
		l, err := net.Listen("tcp", address.Host)
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	})
	if took := time.Since(begun); took > 5*time.Second { // endWithin, and a slow machine
		t.Errorf("it ended after %v", took)
	}
	if n := strings.Count(log.String(), address.Query().Get("token")); n != 1 {
		t.Errorf("the log has the token %d times:\n%s", n, log)
	}
	testkit.Must(t, dashboard.Serve(app, config.Config{Dashboard: &config.Dashboard{Listen: ":0"}})) // after Shutdown
}

// A port that is in use is told in one line, with what has it, and does not keep the program from starting.
func TestPortInUse(t *testing.T) {
	first, _ := start(t)
	dashboards, err := url.Parse(listen(t, first, config.Dashboard{Listen: free}).URL())
	testkit.Must(t, err)
	other := func(header string) string {
		return testkit.Serve(t, func(c net.Conn) {
			defer c.Close()
			if header == "" {
				return
			}
			_, _ = c.Read(make([]byte, 1024))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nServer: "+header+"\r\nContent-Length: 0\r\n\r\n")
		})
	}
	for address, want := range map[string]string{
		dashboards.Host:             `level=INFO .*in use by the dashboard of dashboard\.test.*, process \d+`,
		other("nginx"):              `level=WARN .*in use by a server that calls itself nginx`,
		other("evil \u202e\x1b[1m"): `level=WARN .*in use by `,
		other(""):                   `level=WARN .*in use by another program`,
	} {
		app, log := logged(t)
		testkit.Must(t, dashboard.Serve(app, config.Config{Dashboard: &config.Dashboard{Listen: address}}))
		lines := strings.TrimSpace(log.String())
		if !regexp.MustCompile(want).MatchString(lines) || strings.Contains(lines, "\n") ||
			strings.ContainsAny(lines, "\x1b\u202e") || !strings.Contains(lines, address) {
			t.Errorf("%s: want %s in\n%s", address, want, lines)
		}
	}
}

// When the instance that serves ends, another one on the machine serves, and tells it in one line.
func TestServeTakesOver(t *testing.T) {
	first, firstLog := logged(t)
	testkit.Must(t, dashboard.Serve(first, config.Config{Dashboard: &config.Dashboard{Listen: free}}))
	found := regexp.MustCompile(`url=(http://(127\.0\.0\.1:\d+)/)`).FindStringSubmatch(firstLog.String())
	if found == nil {
		t.Fatalf("no address in the log:\n%s", firstLog)
	}
	second, log := logged(t)
	testkit.Must(t, dashboard.Serve(second, config.Config{Dashboard: &config.Dashboard{Listen: found[2]}}))
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "until the port is free") {
		t.Fatalf("log:\n%s", text)
	}
	testkit.Must(t, first.Shutdown(t.Context()))
	testkit.Eventually(t, "the second serves", func() bool { return strings.Contains(log.String(), found[1]) })
	if status, _, page := ask(t, browser(t), found[1], "", nil); status == 0 || !strings.Contains(page, "afgen") {
		t.Errorf("%d %s", status, page)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
}

// logged returns an App that is not started, and its log.
func logged(t *testing.T) (*af.App, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(slog.NewTextHandler(log, nil))))
	testkit.Must(t, err)
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	return app, log
}

// A lockedBuffer is a buffer that several goroutines write and read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
