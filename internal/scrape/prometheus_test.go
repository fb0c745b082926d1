package scrape

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience limits how long a test waits for what must happen.
const patience = time.Minute

// tool returns the path of a program of Prometheus. Without it the test is skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("AF_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no %s: install Prometheus", name)
	}
	return path
}

// A server is a running Prometheus.
type server struct {
	url  string
	log  *buffer
	gone chan struct{} // closed when the process has ended
}

// startPrometheus starts Prometheus with a configuration file. It is killed at the end of the test.
func startPrometheus(t *testing.T, config string) *server {
	t.Helper()
	path := tool(t, "prometheus")
	for range 5 { // another process may take the port
		s := &server{log: &buffer{}, gone: make(chan struct{})}
		address := freeAddress(t)
		s.url = "http://" + address
		cmd := exec.Command(path, "--config.file="+config, "--web.listen-address="+address,
			"--storage.tsdb.path="+filepath.Join(t.TempDir(), "data"), "--storage.tsdb.retention.time=1h",
			"--log.level=warn")
		cmd.Stderr = s.log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(s.gone)
			_ = cmd.Wait() // it is killed
		}()
		t.Cleanup(func() {
			if t.Failed() {
				s.logTargets(t)
			}
			_ = cmd.Process.Kill() // it may have ended
			<-s.gone
			if t.Failed() {
				t.Logf("Prometheus: %s", s.log)
			}
		})
		if s.ready(t) {
			return s
		}
	}
	t.Fatal("Prometheus does not start")
	return nil
}

// logTargets logs how the last scrapes have ended.
func (s *server) logTargets(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // that of the test has ended
	defer cancel()
	var answer struct {
		ActiveTargets []struct {
			ScrapeURL, Health, LastError string
			LastScrapeDuration           float64
		}
	}
	err := s.get(ctx, "targets", nil, &answer)
	t.Logf("targets: %+v %v", answer.ActiveTargets, err)
}

// ready waits until Prometheus answers. It reports false if the process has ended.
func (s *server) ready(t *testing.T) bool {
	t.Helper()
	ok := false
	within(t, "Prometheus is ready", func() bool {
		select {
		case <-s.gone:
			return true
		default:
		}
		r, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		ok = r.StatusCode == http.StatusOK
		return ok
	})
	return ok
}

// freeAddress returns an address of this machine on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get reads a page of the API into data.
func (s *server) get(ctx context.Context, path string, query url.Values, data any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %w: %s", path, err, body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// query evaluates an expression now, and returns the number of series of its result.
func (s *server) query(ctx context.Context, expression string) (int, error) {
	var result struct {
		ResultType string
		Result     []any
	}
	err := s.get(ctx, "query", url.Values{"query": {expression}}, &result)
	return len(result.Result), err
}

// within waits until a condition holds.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// A buffer has the output of a process. It is safe for concurrent use.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
