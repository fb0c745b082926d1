//go:build unix

package servers_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func init() { children["deaf"] = deafMain }

// deafMain is a process whose handlers ignore their contexts. Its drain timeout is AF_TEST_DRAIN, or the default.
func deafMain() int {
	ctx := context.Background()
	opts := []af.AppOption{af.Logger(slog.New(slog.DiscardHandler))}
	if d, err := time.ParseDuration(os.Getenv("AF_TEST_DRAIN")); err == nil {
		opts = append(opts, af.DrainTimeout(d))
	}
	cfg, err := parseText(os.Getenv("AF_TEST_CONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	app, err := af.Open(ctx, servers.From(cfg), opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	for _, name := range []string{"deaf1", "deaf2"} {
		af.RegisterWorker(app, af.Worker{Name: name, Type: name, Max: 2}, &deaf{})
	}
	go func() { // signals during the start are another test
		for app.Ready() != nil {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("begun")
	}()
	_ = app.Run(ctx)
	return 0
}

type deaf struct{}

func (*deaf) Run(context.Context, int) (int, error) {
	fmt.Println("begun")
	select {}
}

// A process ends within 3 s of its drain timeout, even if handlers and servers hang.
func TestProcessEndsWhateverHangs(t *testing.T) { endsWhateverHangs(t, "1s", 4500*time.Millisecond) }

func endsWhateverHangs(t *testing.T, drain string, most time.Duration) {
	mongod := devstack.Start(t, devstack.MongoDB)
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.WithDatabase(mongod.URI, "deaf"),
		devstack.Redis(t), devstack.AMQP(t))
	client := open(t, parse(t, text), nil)
	for _, name := range []string{"deaf1", "deaf2"} {
		q := af.NewQueue[int, int](client, af.Worker{Name: name, Type: name, Max: 2})
		if _, err := q.SubmitMany(t.Context(), []int{1, 2}); err != nil {
			t.Fatal(err)
		}
	}
	p := testkit.Start(t, "deaf", "AF_TEST_CONFIG="+text, "AF_TEST_DRAIN="+drain)
	for range 5 { // four handlers and the process itself
		p.Says(t, "begun")
	}
	begun := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	draining := func() bool { // only reported during the drain
		page, err := client.Instances(t.Context(), af.InstanceQuery{Queue: "deaf1"})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Instances) == 1 && page.Instances[0].Draining
	}
	for !draining() {
		time.Sleep(10 * time.Millisecond)
	}
	if err := syscall.Kill(-mongod.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err := p.Wait()
	took := time.Since(begun)
	if err := syscall.Kill(-mongod.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err != nil || took > most {
		t.Errorf("%v after %v", err, took)
	}
}
