package scrape

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/metrics"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/instrument"
)

var (
	resize   = af.Worker{Name: "resize", Type: "Resize", Max: 4, Weight: 1, Backoff: time.Millisecond}
	stubborn = af.Worker{Name: "stubborn", Type: "Stubborn", Max: 4, Weight: 1, Timeout: 50 * time.Millisecond}
	get      = &af.Method[int, int]{Service: "orders", Name: "Get", Timeout: patience}
)

const raw = "mail" // a queue of raw messages

// What calls and tasks do, by their argument.
const (
	succeeds = iota
	fails
)

type orders struct{}

// resizer runs tasks that succeed or fail.
type resizer struct{}

func (*resizer) Run(_ context.Context, what int) error {
	if what == fails {
		return af.Permanent(errors.New("no picture"))
	}
	return nil
}

// A stubbornWorker ignores the end of its context until release is closed.
type stubbornWorker struct{ release chan struct{} }

func (w *stubbornWorker) Run(context.Context, int) error {
	<-w.release
	return nil
}

// A victim runs a task until its process is killed.
type victim struct{}

func (*victim) Run(ctx context.Context, _ int) error {
	fmt.Println("running")
	<-ctx.Done()
	return ctx.Err()
}

func TestMain(m *testing.M) {
	testkit.Children{"victim": func() int {
		if err := runVictim(os.Getenv("SCRAPE_FILE")); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			return 1
		}
		return 0
	}}.Run()
	os.Exit(m.Run())
}

// runVictim is a process that runs one task until it is killed.
func runVictim(file string) error {
	ctx := context.Background()
	app, err := af.Open(ctx, embedded.File(file), quiet())
	if err != nil {
		return err
	}
	af.RegisterVoidWorker(app, resize, &victim{})
	if err := app.Start(ctx); err != nil {
		return err
	}
	if _, err := af.NewVoidQueue[int](app, resize).Submit(ctx, succeeds); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the test ends
	return err
}

func quiet() af.AppOption { return af.Logger(quietLog()) }

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// losing is a handler that returns an error for each record. The test prints the records if it fails.
type losing struct{ slog.Handler }

func (l losing) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(l.Handler.Handle(ctx, r), errors.New("the disk is full"))
}

func (l losing) WithAttrs(attrs []slog.Attr) slog.Handler { return losing{l.Handler.WithAttrs(attrs)} }
func (l losing) WithGroup(name string) slog.Handler       { return losing{l.Handler.WithGroup(name)} }

// startSystem starts an App that does all that metrics tell of, until the test ends, and returns where it serves its
// metrics with package metrics: calls, tasks that succeed, fail, crash and are abandoned, jobs and raw messages.
func startSystem(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "af.db")
	killed := testkit.Start(t, "victim", "SCRAPE_FILE="+file)
	killed.Says(t, "running")

	ctx, cancel := context.WithCancel(context.Background())
	observed, log := metrics.New(), &buffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the system: %s", log)
		}
	})
	app, err := af.Open(ctx, embedded.File(file), af.Instrument(observed),
		af.Logger(slog.New(losing{slog.NewTextHandler(log, nil)})), af.DrainTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	t.Cleanup(func() {
		close(release)
		cancel()
		end, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := app.Shutdown(end); err != nil {
			t.Error(err)
		}
	})
	af.RegisterService(app, af.Service{Name: "orders", Type: "Orders"}, &orders{},
		af.Bind(get, func(_ context.Context, _ *orders, what int) (int, error) {
			if what == fails {
				return 0, af.Errorf(af.ErrInternal, "no orders")
			}
			return what, nil
		}))
	af.RegisterVoidWorker(app, resize, &resizer{})
	af.RegisterVoidWorker(app, stubborn, &stubbornWorker{release})
	af.HandleJobFunc(app, "tidy", "@every 1s", func(context.Context) error { return nil })
	af.HandleJobFunc(app, "slow", "@every 1s", func(ctx context.Context) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}, af.Overlap(af.OverlapSkip))
	if err := app.Start(ctx); err != nil {
		t.Fatal(err)
	}
	// A due time is missed after 30 s without any process, too long for a test.
	observed.Observe(instrument.Event{Kind: instrument.JobSkipped, Job: "tidy", Reason: "missed", Tasks: 1})

	received := make(chan error, 1)
	go func() { received <- app.Receive(ctx, raw, receive) }()
	work := make(chan error, 1)
	go func() { work <- keepBusy(ctx, app) }()
	t.Cleanup(func() { // before the one above
		cancel()
		for _, done := range []chan error{received, work} {
			if err := <-done; !errors.Is(err, context.Canceled) && err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := af.NewVoidQueue[int](app, stubborn).Submit(ctx, succeeds); err != nil {
		t.Fatal(err)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", metrics.Handler(app))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return []string{strings.TrimPrefix(s.URL, "http://")}
}

// receive handles raw messages: some fail at first, some are given up.
func receive(ctx context.Context, body json.RawMessage) error {
	switch string(body) {
	case `"late"`:
		if af.MessageFrom(ctx).Attempt == 1 {
			return errors.New("not yet")
		}
	case `"bad"`:
		return af.Permanent(errors.New("not a mail"))
	}
	return nil
}

// keepBusy makes calls, submits tasks and sends messages until ctx ends.
func keepBusy(ctx context.Context, app *af.App) error {
	tasks, client := af.NewVoidQueue[int](app, resize), af.NewClient(app)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, what := range []int{succeeds, fails} {
			if _, err := tasks.Submit(ctx, what); err != nil {
				return err
			}
			if _, err := get.Call(ctx, client, what); err != nil && what == succeeds {
				return err
			}
		}
		for _, body := range []string{"good", "late", "bad"} {
			if err := app.Send(ctx, raw, body); err != nil {
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
