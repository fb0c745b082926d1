package embedded_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func init() { children["writer"] = writeForEver }

// writeForEver submits tasks from several goroutines and prints the id of each that was acknowledged.
func writeForEver() int {
	ctx := context.Background()
	app, err := af.Open(ctx, embedded.File(os.Getenv("AF_TEST_FILE")), af.Logger(slog.New(slog.DiscardHandler)))
	if err == nil {
		err = app.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	q := af.NewQueue[string, int](app, af.Worker{Name: "written", Type: "Written", Max: 1})
	acked := make(chan string)
	for range 4 {
		go func() {
			for {
				id, err := q.Submit(ctx, strings.Repeat("x", 3000))
				if err != nil {
					id = err.Error()
				}
				acked <- id
			}
		}()
	}
	for id := range acked {
		fmt.Println(id)
	}
	return 0
}

// A process that is killed while writing leaves a valid file with everything that it has acknowledged.
func TestKilledWriterLosesNoAcknowledgedTask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	var acked []string
	for round := range 5 {
		child := testkit.Start(t, "writer", "AF_TEST_FILE="+path)
		lines := bufio.NewScanner(child.Out)
		for n := 0; n < 200+100*round && lines.Scan(); n++ {
			acked = append(acked, lines.Text())
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // printed before it died
			acked = append(acked, lines.Text())
		}
		if err := child.Wait(); err == nil {
			t.Error("the writer was not killed")
		}
	}
	ports := openUntilEnd(t, path)
	for _, id := range acked[:len(acked)-1] { // the last line may be cut
		if _, err := ports.Store.Get(t.Context(), id); err != nil {
			t.Fatalf("acknowledged %q: %v", id, err)
		}
	}
	wantIntact(t, path)
}

// wantIntact runs SQLite's integrity check.
func wantIntact(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the file is damaged: %s, %v", verdict, err)
	}
}

// Inserts fail if the disk is full. Acknowledged tasks run, and running tasks are settled.
func TestFullDiskLosesNoTask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	full, err := af.Open(t.Context(), embedded.File(path, embedded.MostPages(300)),
		af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := full.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	worker := af.Worker{Name: "written", Type: "Written", Max: 4}
	q := af.NewQueue[string, int](full, worker)
	var acked []string
	for err == nil && len(acked) < 10_000 {
		var id string
		if id, err = q.Submit(t.Context(), strings.Repeat("x", 3000)); err == nil {
			acked = append(acked, id)
		}
	}
	if !errors.Is(err, af.ErrResourceExhausted) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("a full disk: %v", err)
	}
	if e, ok := errors.AsType[*af.Error](err); !ok || e.Outcome != af.OutcomeNotSent {
		t.Errorf("a full disk: outcome of %v", err)
	}
	if _, err := q.Get(t.Context(), acked[0]); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	if err := full.Shutdown(t.Context()); err != nil {
		t.Errorf("shutting down on a full disk: %v", err)
	}
	wantIntact(t, path)

	app := apptest.Start(t, embedded.File(path), func(app *af.App) { af.RegisterWorker(app, worker, &length{}) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, id := range acked {
		if n, err := af.NewQueue[string, int](app, worker).Wait(ctx, id); n != 3000 || err != nil {
			t.Fatalf("%s: %d, %v", id, n, err)
		}
	}
}

type length struct{}

func (*length) Run(_ context.Context, s string) (int, error) { return len(s), nil }

// A job that can't be written doesn't fail the others in its transaction.
func TestTooLargeTaskFailsAlone(t *testing.T) {
	ports := openUntilEnd(t, filepath.Join(t.TempDir(), "af.db"), embedded.MostPages(300))
	many := make(chan error)
	for i := range 20 {
		go func() {
			size := 10
			if i == 7 {
				size = 4 << 20
			}
			_, err := ports.Store.Insert(t.Context(), []backend.NewTask{{Task: backend.Task{
				ID: fmt.Sprint("t", i), Queue: "q", Status: backend.StatusWaiting, Payload: make([]byte, size),
			}}})
			if size > 10 {
				if !errors.Is(err, backend.ErrResourceExhausted) {
					err = fmt.Errorf("the large one: %w", err)
				} else {
					err = nil
				}
			}
			many <- err
		}()
	}
	for range 20 {
		if err := <-many; err != nil {
			t.Error(err)
		}
	}
	page, err := ports.Store.List(t.Context(), backend.TaskQuery{})
	if err != nil || page.Total != 19 || len(page.Tasks) != 19 {
		t.Errorf("%d tasks, total %d, %v", len(page.Tasks), page.Total, err)
	}
}

func init() { children["victim"] = beVictim }

// beVictim runs tasks that never end, and prints the id of each.
func beVictim() int {
	ctx := context.Background()
	app, err := af.Open(ctx, embedded.File(os.Getenv("AF_TEST_FILE")), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	af.RegisterWorker(app, victimWorker, &endless{})
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	select {}
}

var victimWorker = af.Worker{Name: "victim", Type: "Victim", Max: 1}

type endless struct{}

func (*endless) Run(ctx context.Context, _ string) (int, error) {
	fmt.Println(af.TaskFrom(ctx).ID)
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// A rescue runs in this process the tasks of victims that were killed.
type rescue struct {
	path string
	app  *af.App
}

func newRescue(t testing.TB) *rescue {
	t.Helper()
	r := &rescue{path: filepath.Join(t.TempDir(), "af.db")}
	var err error
	if r.app, err = af.Open(t.Context(), embedded.File(r.path), af.Logger(slog.New(slog.DiscardHandler))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.app.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := r.app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// kill lets a task start in another process, kills that process, and returns how long it took until the task had run
// here.
func (r *rescue) kill(t testing.TB) time.Duration {
	t.Helper()
	q := af.NewQueue[string, int](r.app, victimWorker)
	id, err := q.Submit(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	child := testkit.Start(t, "victim", "AF_TEST_FILE="+r.path)
	child.Says(t, id)
	// An idle worker is ready when it dies.
	app, err := af.Open(t.Context(), embedded.File(r.path), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterWorker(app, victimWorker, &length{})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	if n, err := q.Wait(t.Context(), id); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	took := time.Since(died)
	_ = child.Wait() // returns that it was killed
	if task, err := q.Get(t.Context(), id); err != nil || task.Fence != 2 || task.Crashes != 0 || task.Attempt != 1 {
		t.Errorf("%+v, %v", task, err)
	}
	return took
}

// The lease is 10 s: the released lock reveals the death of the process.
func TestTaskOfKilledProcessRunsWithin3s(t *testing.T) {
	if took := newRescue(t).kill(t); took > 3*time.Second {
		t.Errorf("running again after %v", took)
	}
}

// BenchmarkCrashToRunning measures the time from the SIGKILL of a process until its task, a no-op, has run in another
// one.
func BenchmarkCrashToRunning(b *testing.B) {
	r := newRescue(b)
	var took []time.Duration
	for b.Loop() {
		took = append(took, r.kill(b))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "most-ms")
}
