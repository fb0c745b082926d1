//go:build unix

package embedded_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/operations"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/internal/child"
)

// jobsFor is how long processes with a job every second are killed and restarted.
var jobsFor = flag.Duration("jobs", 6*time.Second, "how long to kill and restart processes that fire a job each second")

func init() {
	children["jobs"] = jobsChild
	if child.Self() != nil { // of a job that runs in child processes
		fmt.Fprintln(os.Stderr, operations.JobChild(embedded.File("")))
		os.Exit(1)
	}
}

func TestJobs(t *testing.T) {
	operations.Jobs(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}

// ticker is a worker whose runs are of the second that its task is named after.
type ticker struct{}

func (ticker) Run(context.Context, int) error { return nil }

func everySecond() af.Worker {
	return af.Worker{Name: "ticks", Type: "Ticker", Max: 4, Backoff: time.Second, Weight: 1, Jobs: []af.DeclaredJob{
		{ID: "tick", Cron: "@every 1s", Missed: af.MissedAll},
	}}
}

// ticking opens an App that declares the job and runs its tasks.
func ticking(ctx context.Context, path string, opts ...af.AppOption) (*af.App, error) {
	app, err := af.Open(ctx, embedded.File(path), append(opts, af.Lease(3*time.Second), af.Logger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		return nil, err
	}
	af.RegisterVoidWorker(app, everySecond(), &ticker{})
	return app, app.Start(ctx)
}

// jobsChild is one App, until it is killed; or until its parent is, whose end closes the pipe.
func jobsChild() int {
	app, err := ticking(context.Background(), os.Getenv("AF_TEST_PATH"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	if err := app.Shutdown(context.Background()); err != nil {
		return 1
	}
	return 0
}

// Two Apps with a job every second are killed and restarted at random, at times both at once: of each second there is one
// task, which has run.
func TestKilledSchedulersMissNoSecondAndDoubleNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	end := time.Now().Add(*jobsFor)
	var wg sync.WaitGroup
	for i := range uint64(2) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), i))
			for life := 0; time.Now().Before(end); life++ {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "AF_TEST_CHILD=jobs", "AF_TEST_PATH="+path)
				cmd.Stderr = os.Stderr
				in, err := cmd.StdinPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(r.IntN(2500)) * time.Millisecond)
				if life%4 == 3 {
					_ = in.Close() // it shuts down
				} else {
					_ = cmd.Process.Kill()
				}
				_ = cmd.Wait()
				time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
			}
		})
	}
	wg.Wait()

	app, err := ticking(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	j, err := app.Job(t.Context(), "tick")
	if err != nil {
		t.Fatal(err)
	}
	store := join(t, path).Store
	last := time.Now().Unix()
	if last-j.Created.Unix() < int64(*jobsFor/time.Second)-4 {
		t.Errorf("the job was made %v ago", time.Since(j.Created))
	}
	var missing []int64
	for wait := time.Now().Add(20 * time.Second); time.Now().Before(wait); time.Sleep(100 * time.Millisecond) {
		ended := map[int64]int{}
		for q := (backend.TaskQuery{Queue: "ticks", Limit: 1000}); ; {
			page, err := store.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, task := range page.Tasks {
				second, err := strconv.ParseInt(strings.TrimPrefix(task.ID, "job/tick/"), 10, 64)
				if err != nil || second <= j.Created.Unix() {
					t.Fatalf("task %q is none of a due time", task.ID)
				}
				if task.Status == backend.StatusSuccess {
					ended[second]++
				}
			}
			if q.Cursor = page.Cursor; q.Cursor == "" {
				break
			}
		}
		missing = nil
		for s := j.Created.Unix() + 1; s <= last; s++ {
			if ended[s] != 1 {
				missing = append(missing, s-j.Created.Unix())
			}
		}
		if len(missing) == 0 {
			t.Logf("%d seconds, %d tasks", last-j.Created.Unix(), len(ended))
			return
		}
	}
	t.Errorf("of these seconds after its creation no one task has run: %v", missing)
}
