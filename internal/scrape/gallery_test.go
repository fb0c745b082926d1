package scrape

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// The names of otel/examples/gallery that the test uses.
const (
	example   = "otel/examples"
	published = "published" // the queue of raw messages
	tidy      = "tidy"      // the job
)

// startGallery builds and starts the program of otel/examples as its users do, and returns where two processes of it
// serve their metrics. From outside it makes happen what metrics tell of: tasks, calls and messages fail, a process is
// killed, due times are missed and log records are lost.
func startGallery(t *testing.T) []string {
	dir := t.TempDir()
	program, file := filepath.Join(dir, "gallery"), filepath.Join(dir, "af.db")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join(root, example), "-ldflags=-s -w",
		"-o", program, ".")
	build.Env = append(os.Environ(), "GOFLAGS="+testkit.GoFlags())
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", example, err, out)
	}
	g := &gallery{T: t, program: program, file: file}
	g.killAtWork()
	g.missFires()

	web, webMetrics := g.start(nil, "-file="+file, "-listen=127.0.0.1:0")
	config := filepath.Join(dir, "config.yaml") // logs of a configuration are counted
	testkit.Write(t, config, fmt.Sprintf("embedded: {path: %q}\nlogger: {path: \"\"}\n", file))
	unwritable, err := os.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unwritable.Close() }) // it was only read
	_, workMetrics := g.start(unwritable, "-config="+config, "-listen=")
	address := web.address(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- keepPublishing(ctx, address, g.operator()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	return []string{webMetrics, workMetrics}
}

// A gallery is the program of otel/examples, whose processes share a file.
type gallery struct {
	*testing.T
	program, file string
}

// A process is a running program.
type process struct {
	*exec.Cmd
	out *buffer
}

// start starts a process, which writes its log to a file, or into its output if that is nil. It serves its metrics on the
// returned address, and is killed when the test ends.
func (g *gallery) start(log *os.File, args ...string) (p *process, metrics string) {
	g.Helper()
	metrics = freeAddress(g.T)
	host, port, err := net.SplitHostPort(metrics)
	if err != nil {
		g.Fatal(err)
	}
	p = &process{exec.Command(g.program, args...), &buffer{}}
	p.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "OTEL_METRICS_EXPORTER=prometheus",
		"OTEL_EXPORTER_PROMETHEUS_HOST=" + host, "OTEL_EXPORTER_PROMETHEUS_PORT=" + port}
	p.Stdout, p.Stderr = p.out, p.out
	if log != nil {
		p.Stderr = log
	}
	if err := p.Start(); err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() {
		if p.ProcessState == nil {
			_, _ = p.Process.Kill(), p.Wait() // it may have ended, and is killed
		}
		if g.Failed() {
			g.Logf("%q: %s", args, p.out)
		}
	})
	return p, metrics
}

// address waits until the process listens, and returns on what address.
func (p *process) address(t *testing.T) (address string) {
	t.Helper()
	within(t, "the example listens", func() bool {
		_, after, ok := strings.Cut(p.out.String(), "listening on ")
		address, _, _ = strings.Cut(after, "\n")
		return ok
	})
	return address
}

// operator returns an App that administers the system, as the command af does.
func (g *gallery) operator() *af.App {
	g.Helper()
	app, err := af.Open(g.Context(), embedded.File(g.file), af.Observer(), quiet())
	if err == nil {
		err = app.Start(g.Context())
	}
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() {
		end, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := app.Shutdown(end); err != nil {
			g.Error(err)
		}
	})
	return app
}

// killAtWork kills processes until one has left a running task behind.
func (g *gallery) killAtWork() {
	g.Helper()
	var operator *af.App
	running := func() bool {
		tasks, err := operator.Tasks(g.Context(), af.TaskQuery{Statuses: []af.Status{af.StatusRunning}})
		if err != nil {
			g.Fatal(err)
		}
		return len(tasks.Tasks) > 0
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		p, _ := g.start(nil, "-file="+g.file, "-listen=127.0.0.1:0")
		address := p.address(g.T)
		if operator == nil {
			operator = g.operator()
		}
		within(g.T, "a task runs", func() bool {
			if err := publish(g.Context(), address, "spring"); err != nil {
				g.Fatal(err)
			}
			return running()
		})
		_, _ = p.Process.Kill(), p.Wait()
		if running() {
			return
		}
	}
	g.Fatalf("no process dies while it runs a task within %v", patience)
}

// missFires makes all due times of ten minutes pass without a process. They are missed after 30 s, which is too long for
// a test. No process may run.
func (g *gallery) missFires() {
	g.Helper()
	ports, err := embedded.File(g.file).Open(g.Context(), backend.Env{
		Instance: backend.Instance{ID: "TEST"}, Logger: quietLog(),
	})
	if err != nil {
		g.Fatal(err)
	}
	defer func() {
		if err := ports.Close(context.Background()); err != nil {
			g.Error(err)
		}
	}()
	doc, err := ports.Docs.Get(g.Context(), "jobs/"+tidy)
	if err != nil {
		g.Fatal(err)
	}
	var job map[string]json.RawMessage
	var decided int64 // due times until then are decided
	if err = json.Unmarshal(doc.Value, &job); err == nil {
		err = json.Unmarshal(job["done"], &decided)
	}
	if err != nil {
		g.Fatal(err)
	}
	job["done"] = json.RawMessage(fmt.Sprint(decided - 600))
	value, err := json.Marshal(job)
	if err == nil {
		_, err = ports.Docs.PutIf(g.Context(), doc.Name, doc.Revision, value)
	}
	if err != nil {
		g.Fatal(err)
	}
}

// keepPublishing publishes albums, of which some fail, and sends messages that fail, until ctx ends.
func keepPublishing(ctx context.Context, address string, operator *af.App) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, album := range []string{"spring", "lost", "broken"} {
			if err := publish(ctx, address, album); err != nil {
				return err
			}
		}
		for _, message := range []any{"no album", map[string]string{"album": ""}} { // delivered again, and dead
			if err := operator.Send(ctx, published, message); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// publish requests that an album is published.
func publish(ctx context.Context, address, album string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/albums/"+album, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("publishing %s: %s: %s", album, response.Status, text)
	}
	return err
}
