package embedded_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func init() { children["receiver"] = receiveForEver }

// receiveForEver receives a raw message, prints it, and never returns from its handler.
func receiveForEver() int {
	ctx := context.Background()
	app, err := af.Open(ctx, embedded.File(os.Getenv("AF_TEST_FILE")), af.Logger(slog.New(slog.DiscardHandler)))
	if err == nil {
		err = app.Start(ctx)
	}
	if err == nil {
		err = app.Receive(ctx, "orders", func(ctx context.Context, body json.RawMessage) error {
			fmt.Printf("%s\n", body)
			<-ctx.Done()
			return nil
		})
	}
	fmt.Println(err)
	return 1
}

// A message that was being handled when its receiver was killed is delivered again, and only once after it was handled.
func TestKilledReceiversMessageIsRedelivered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	app := apptest.Start(t, embedded.File(path), nil)
	child := testkit.Start(t, "receiver", "AF_TEST_FILE="+path)
	for n := range 3 {
		if err := app.Send(t.Context(), "orders", n); err != nil {
			t.Fatal(err)
		}
	}
	child.Says(t, "0")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // that it was killed
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := map[int]int{}
	err := af.ReceiveAs(ctx, app, "orders", func(_ context.Context, n int) error {
		if seen[n]++; len(seen) == 3 {
			cancel()
		}
		return nil
	})
	if len(seen) != 3 || seen[0] != 1 || seen[1] != 1 || seen[2] != 1 {
		t.Errorf("seen %v, %v", seen, err)
	}
	empty, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = app.Receive(empty, "orders", func(_ context.Context, body json.RawMessage) error {
		t.Errorf("received again: %s", body)
		return nil
	})
}

// A message survives the App that sent it, an error and a panic. Shutdown waits for the handler.
func TestMessagesSurviveApps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	sender := apptest.Start(t, embedded.File(path), nil)
	if err := sender.Send(t.Context(), "orders", "first"); err != nil {
		t.Fatal(err)
	}
	if err := sender.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	app := apptest.Start(t, embedded.File(path), nil)
	handling, tries := make(chan struct{}), 0
	done := make(chan error, 1)
	go func() {
		done <- af.ReceiveAs(t.Context(), app, "orders", func(ctx context.Context, s string) error {
			switch tries++; tries {
			case 1:
				return fmt.Errorf("not yet: %s", s)
			case 2:
				panic("not yet")
			}
			close(handling)
			time.Sleep(100 * time.Millisecond)
			return ctx.Err()
		})
	}()
	<-handling
	if err := app.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

func TestSnowflakes(t *testing.T) {
	app := apptest.Start(t, embedded.File(filepath.Join(t.TempDir(), "af.db")), nil)
	a, err := app.Snowflake(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := app.Snowflake(t.Context()); err != nil || b <= a {
		t.Errorf("%s after %s, %v", b, a, err)
	}
}

// chatty is a worker that logs, and fails.
type chatty struct{}

func (chatty) Run(ctx context.Context, n int) (int, error) {
	af.LoggerFrom(ctx).Info("working", "n", n)
	return 0, af.Permanent(fmt.Errorf("no %d", n))
}

// A task's last log lines and its trace are stored in its document, even for a process that opens the file later.
func TestTaskLogIsStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	worker := af.Worker{Name: "chatty", Type: "Chatty", Max: 1}
	app, err := af.Open(t.Context(), embedded.File(path), af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterWorker(app, worker, &chatty{})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := af.NewQueue[int, int](app, worker)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	id, err := q.Submit(af.WithTrace(t.Context(), trace), 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Wait(t.Context(), id); err == nil {
		t.Error("the task succeeded")
	}
	if err := app.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	task, err := openUntilEnd(t, path).Store.Get(t.Context(), id)
	if err != nil || task.Trace != trace || len(task.Log) != 2 || !strings.Contains(task.Log[0], app.Instance().ID) ||
		!strings.HasSuffix(task.Log[1], "level=INFO msg=working n=7") {
		t.Errorf("%q, trace %q, %v", task.Log, task.Trace, err)
	}
}

func init() { children["suicide"] = receiveAndDie }

// receiveAndDie receives a raw message and kills its own process.
func receiveAndDie() int {
	ctx := context.Background()
	app, err := af.Open(ctx, embedded.File(os.Getenv("AF_TEST_FILE")), af.Logger(slog.New(slog.DiscardHandler)))
	if err == nil {
		err = app.Start(ctx)
	}
	if err == nil {
		err = app.Receive(ctx, "orders", func(ctx context.Context, body json.RawMessage) error {
			fmt.Printf("attempt %d\n", af.MessageFrom(ctx).Attempt)
			p, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = p.Kill()
			}
			fmt.Println(err)
			select {}
		})
	}
	fmt.Println(err)
	return 1
}

// A message that kills each of its receivers is moved to the dead-letter queue. Other messages are not counted.
func TestMessageThatKillsReceiversIsMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	app := apptest.Start(t, embedded.File(path), nil)
	for n := range 2 {
		if err := app.Send(t.Context(), "orders", n); err != nil {
			t.Fatal(err)
		}
	}
	const attempts = 3
	for n := range attempts {
		child := testkit.Start(t, "suicide", "AF_TEST_FILE="+path)
		child.Says(t, fmt.Sprintf("attempt %d", n+1))
		_ = child.Wait() // that it was killed
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other, moved := make(chan int, 1), make(chan *af.DeadLetter, 1)
	go func() {
		_ = af.ReceiveAs(ctx, app, "orders", func(ctx context.Context, n int) error {
			if m := af.MessageFrom(ctx); m.Attempt != 1 {
				t.Errorf("received %d, %+v", n, m)
			}
			other <- n
			return nil
		}, af.MaxAttempts(attempts))
	}()
	go func() {
		_ = af.ReceiveAs(ctx, app, "orders.dead", func(ctx context.Context, _ int) error {
			moved <- af.MessageFrom(ctx).Dead
			return nil
		})
	}()
	for range 2 {
		select {
		case n := <-other:
			if n != 1 {
				t.Errorf("received %d", n)
			}
		case d := <-moved:
			if d.Reason != af.DeadCrash || d.Queue != "orders" {
				t.Errorf("dead letter %+v", d)
			}
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}
