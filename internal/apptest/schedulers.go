package apptest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Scheduler is main of a process that KilledSchedulers starts: an App with a job every second and the worker of its
// tasks. It runs until stdin ends, so it doesn't outlive the test.
func Scheduler(b af.Backend, stdin io.Reader) error {
	app, err := ticking(context.Background(), b)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, stdin)
	return app.Shutdown(context.Background())
}

// KilledSchedulers kills and restarts two processes, with a job every second and missed=all, at random for a while,
// sometimes both at once. Each second since the job's creation must have one task that has run. start starts a
// process that runs Scheduler on the same backend as b.
func KilledSchedulers(t *testing.T, b af.Backend, start func() *exec.Cmd, while time.Duration) {
	end := time.Now().Add(while)
	var wg sync.WaitGroup
	for i := range uint64(2) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), i))
			for life := 0; time.Now().Before(end); life++ {
				if err := live(start(), time.Duration(r.IntN(2500))*time.Millisecond, life%4 == 3); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	app, err := ticking(t.Context(), b)
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
	last := time.Now().Unix()
	if last-j.Created.Unix() < int64(while/time.Second)-4 {
		t.Errorf("the job was made %v ago", time.Since(j.Created))
	}
	var missing []int64
	for wait := time.Now().Add(patience); time.Now().Before(wait); time.Sleep(100 * time.Millisecond) {
		ran := ranSeconds(t, app, j)
		missing = nil
		for s := j.Created.Unix() + 1; s <= last; s++ {
			if !ran[s] {
				missing = append(missing, s-j.Created.Unix())
			}
		}
		if len(missing) == 0 {
			t.Logf("%d seconds, %d tasks", last-j.Created.Unix(), len(ran))
			return
		}
	}
	t.Errorf("of these seconds after the job's creation no task has run: %v", missing)
}

// live runs a process for a while, and then ends it: gracefully or not.
func live(cmd *exec.Cmd, while time.Duration, inOrder bool) error {
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	time.Sleep(while)
	if inOrder {
		err = in.Close()
	} else {
		err = cmd.Process.Kill()
	}
	if e := cmd.Wait(); inOrder {
		err = errors.Join(err, e)
	}
	return err
}

// ticker is a worker of tasks whose ids contain a second.
type ticker struct{}

func (ticker) Run(context.Context, int) error { return nil }

// ticking opens an App that declares the job and runs its tasks.
func ticking(ctx context.Context, b af.Backend) (*af.App, error) {
	app, err := af.Open(ctx, b, af.Lease(3*time.Second), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	af.RegisterVoidWorker(app, af.Worker{
		Name: "ticks", Type: "Ticker", Max: 4, Backoff: time.Second, Weight: 1,
		Jobs: []af.DeclaredJob{{ID: "tick", Cron: "@every 1s", Missed: af.MissedAll}},
	}, &ticker{})
	return app, app.Start(ctx)
}

// ranSeconds returns the seconds whose task has run. Each task is one document, so a second can't have two. It fails
// if a task has no due time.
func ranSeconds(t *testing.T, app *af.App, j af.Job) map[int64]bool {
	t.Helper()
	ran := map[int64]bool{}
	for q := (af.TaskQuery{Queue: "ticks", Limit: 1000}); ; {
		page, err := app.Tasks(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range page.Tasks {
			second, err := strconv.ParseInt(strings.TrimPrefix(task.ID, "job/tick/"), 10, 64)
			if err != nil || second <= j.Created.Unix() {
				t.Fatalf("task %q is none of a due time", task.ID)
			}
			ran[second] = ran[second] || task.Status == af.StatusSuccess
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return ran
		}
	}
}
