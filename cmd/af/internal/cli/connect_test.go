package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/cli"
	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A result is what a run of the command leaves.
type result struct {
	code        int
	out, stderr string
}

// run runs the command with environment variables, without a terminal.
func run(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var out, stderr bytes.Buffer
	code := cli.Run(t.Context(), args, cli.Environment{
		In: strings.NewReader(""), Out: text.Printer{Writer: &out}, Err: text.Printer{Writer: &stderr},
		Getenv: func(name string) string { return env[name] }, Now: time.Now,
	})
	return result{code, out.String(), stderr.String()}
}

// fails checks the exit code of a run, and that its error has texts and not another one.
func (r result) fails(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code || r.out != "" {
		t.Errorf("exit code %d and output %q, want %d and none", r.code, r.out, code)
	}
	for _, want := range texts {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in\n%s", want, r.stderr)
		}
	}
	for line := range strings.Lines(r.stderr) {
		if !strings.HasPrefix(line, "af: ") || strings.Contains(line, secret) {
			t.Errorf("line %q", line)
		}
	}
}

const secret = "hunter2"

// quiet is an option of Apps.
var quiet = af.Logger(slog.New(slog.DiscardHandler))

// newFile returns an embedded file, closed.
func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "af.db")
	app, err := af.Open(t.Context(), embedded.File(path), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	return path
}

// The errors of an embedded file tell which file it is, what is wrong and what helps.
func TestErrorsOfFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	run(t, nil, "queues").fails(t, 2, "no file .af/af.db, and there is no config.yaml here: start the system first, "+
		"or name another one by -c, -file or -url")
	run(t, nil, "-file", "none.db", "queues").fails(t, 2, "no file none.db: start the system")
	run(t, nil, "-c", "none.yaml", "queues").fails(t, 2, "open none.yaml")
	testkit.Write(t, "here.yaml", "embedded: {path: there.db}\n")
	run(t, nil, "-c", "here.yaml", "queues").fails(t, 2, "no file there.db, which is embedded.path in "+dir)
	testkit.Write(t, "sub/config.yaml", "embedded: {path: there.db}\n")
	run(t, nil, "-c", "sub/config.yaml", "queues").fails(t, 2, "sub/config.yaml, relative to this directory")
	testkit.Write(t, "config.yaml", "embeded: {path: x}\n")
	run(t, nil, "queues").fails(t, 2, "config.yaml:1:1: ")
	testkit.Write(t, "text.db", "a text, long enough that SQLite reads a header of it, and not an empty file: "+
		strings.Repeat("text ", 100))
	run(t, nil, "-file", "text.db", "queues").fails(t, 3, "cannot open text.db: the file is not a SQLite database")
	run(t, nil, "-file", ".", "queues").fails(t, 2, "cannot open .: "+dir+" is not a regular file")
	if _, err := os.Stat("none.db"); err == nil {
		t.Error("none.db was created")
	}
}

// An existing file that no process has open is read.
func TestFileWithoutInstances(t *testing.T) {
	path := newFile(t)
	r := run(t, nil, "-file", path, "-o", "json", "queues")
	if r.code != 0 || r.stderr != "" || strings.Join(strings.Fields(r.out), "") != `{"queues":[]}` {
		t.Errorf("%+v", r)
	}
}

// If all three servers are down, the error names each and how long it was tried, within the limit, and no password.
func TestErrorsOfServers(t *testing.T) {
	testkit.Long(t, "waits for servers that are down")
	t.Chdir(t.TempDir())
	addr := testkit.FreeAddr(t)
	testkit.Write(t, "config.yaml", fmt.Sprintf("mongodb: {uri: 'mongodb://ann:%s@%s/x'}\n"+
		"redis: {uri: 'redis://ann:%[1]s@%[2]s'}\nrabbitmq: {uri: 'amqp://ann:%[1]s@%[2]s'}\n", secret, addr))
	run(t, nil, "queues").fails(t, 3, "af: cannot reach any of the servers of ", ", tried for ",
		"af: rabbitmq is unavailable: ",
		"af: mongodb is unavailable: ", "af: redis is unavailable: ", addr)
}

// serve serves the API of an App on memory, and returns its URL.
func serve(t *testing.T, authorize func(*http.Request) (admin.User, error)) *httptest.Server {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	h, err := adminhttp.Handler(admin.New(app), adminhttp.Options{Authorize: authorize})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", h))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// withToken authorizes requests with the secret.
func withToken(r *http.Request) (admin.User, error) {
	if r.Header.Get("Authorization") != "Bearer "+secret {
		return admin.User{}, af.NewError(af.ErrUnauthenticated, "who are you?")
	}
	return admin.User{Name: "ann", Rights: admin.ReadOnly()}, nil
}

// The errors of a URL tell what is wrong with it, and no secret.
func TestErrorsOfURLs(t *testing.T) {
	server := serve(t, withToken)
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	encrypted := httptest.NewUnstartedServer(http.NotFoundHandler())
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0)
	encrypted.StartTLS()
	t.Cleanup(encrypted.Close)
	closed := testkit.FreeAddr(t)
	plain := strings.Replace(server.URL, "http://", "https://", 1)
	for url, want := range map[string]struct {
		code int
		text string
	}{
		"localhost/ops":                       {2, "-url: want http:// or https://, a host"},
		"//ann:" + secret + "@host":           {2, "-url: want http:// or https://, a host"},
		"ftp://host/":                         {2, "-url: want http:// or https://, a host"},
		"http://host/ops?token=" + secret:     {2, "want no ? and no #"},
		"http://ann:" + secret + "@" + closed: {3, "connection refused (unavailable)"},
		server.URL:                            {2, "is not an admin API: check the URL"},
		page.URL:                              {2, "is not an admin API: check the URL"},
		encrypted.URL:                         {3, "name that's file by SSL_CERT_FILE"},
		plain:                                 {3, "the server speaks no TLS: use http://"},
		"http://" + encrypted.Listener.Addr().String(): {2, "is not an admin API: check the URL"},
		server.URL + "/ops":                            {2, "set AF_TOKEN, or use -token-file FILE"},
	} {
		t.Log(url)
		run(t, nil, "-url", url, "queues").fails(t, want.code, want.text)
	}
}

// A server that accepts connections and answers nothing is given up.
func TestServerWithoutAnswer(t *testing.T) {
	testkit.Long(t, "waits for an answer for 10 s")
	addr := testkit.Serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)); <-t.Context().Done() })
	run(t, nil, "-url", "http://"+addr, "queues").fails(t, 3, "no answer within 10")
}

// The token is from AF_TOKEN or a file. AF_TOKEN goes to the server of AF_URL only.
func TestToken(t *testing.T) {
	server, other := serve(t, withToken), serve(t, withToken)
	url := server.URL + "/ops"
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string, mode os.FileMode) {
		t.Helper()
		testkit.Write(t, file, token)
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	ok := func(r result, warning string) {
		t.Helper()
		if r.code != 0 || !strings.Contains(r.stderr, warning) || warning == "" && r.stderr != "" {
			t.Errorf("%+v, want the warning %q", r, warning)
		}
	}
	environment := map[string]string{"AF_URL": url, "AF_TOKEN": secret}
	ok(run(t, environment, "-o", "json", "queues"), "")
	ok(run(t, map[string]string{"AF_TOKEN": secret}, "-url", url, "-o", "json", "queues"), "")
	run(t, map[string]string{"AF_TOKEN": "wrong"}, "-url", url, "queues").fails(t, 2, "who are you? (unauthenticated)",
		"the server has refused the token of AF_TOKEN")
	run(t, environment, "-url", other.URL+"/ops", "queues").fails(t, 2,
		"AF_TOKEN is for the server of AF_URL and was not sent; use -token-file")
	run(t, map[string]string{"AF_TOKEN": "two\nlines " + secret}, "-url", url, "queues").fails(t, 2,
		"AF_TOKEN is not a token")

	write(secret+"\n", 0o600)
	ok(run(t, nil, "-url", url, "-token-file", file, "-o", "json", "queues"), "")
	ok(run(t, environment, "-url", other.URL+"/ops", "-token-file", file, "-o", "json", "queues"), "")
	if runtime.GOOS != "windows" {
		write(secret, 0o640)
		ok(run(t, nil, "-url", url, "-token-file", file, "-o", "json", "queues"), "other users can read "+file+" (mode 0640)")
		write(secret, 0o602)
		run(t, nil, "-url", url, "-token-file", file, "queues").fails(t, 2, "other users can replace the token")
	}
	write("\n", 0o600)
	run(t, nil, "-url", url, "-token-file", file, "queues").fails(t, 2, "is empty")
	write(strings.Repeat("x", 70_000), 0o600)
	run(t, nil, "-url", url, "-token-file", file, "queues").fails(t, 2, "exceeds 65536 bytes")
	run(t, nil, "-url", url, "-token-file", file+"2", "queues").fails(t, 2, "-token-file: open ")
	run(t, nil, "-file", file, "-token-file", file, "queues").fails(t, 2, "-token-file has an effect only with -url")
	run(t, nil, "-file", file, "-url", url, "queues").fails(t, 2, "use only one of")
}

// The dashboard is served on this machine only, and what has its port is told.
func TestUIRefuses(t *testing.T) {
	taken := testkit.Serve(t, func(c net.Conn) { _ = c.Close() })
	dir := t.TempDir()
	t.Chdir(dir)
	run(t, nil, "ui", "-listen", "0.0.0.0:8090").fails(t, 2, "-listen 0.0.0.0:8090: ui is only for this machine")
	run(t, nil, "ui", "-listen", "8090").fails(t, 2, "-listen 8090: want a host and a port, such as 127.0.0.1:8090")
	run(t, nil, "-o", "json", "ui").fails(t, 2, "ui has no JSON")
	run(t, nil, "ui").fails(t, 2, "no file .af/af.db, and there is no config.yaml here")
	run(t, nil, "-url", "http://127.0.0.1:1", "ui").fails(t, 3, "connection refused")
	run(t, nil, "-file", newFile(t), "ui", "-listen", taken).fails(t, 1, taken+" is in use by another program",
		"-listen :0 takes a free port")
}
