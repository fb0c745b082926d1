package servers_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/internal/child"
)

// jobsFor is how long processes with a job that fires every second are killed and restarted.
var jobsFor = flag.Duration("jobs", 6*time.Second, "how long to kill and restart processes that fire a job each second")

func init() {
	children["jobs"] = func() int {
		cfg, err := parseText(os.Getenv("AF_TEST_CONFIG"))
		if err == nil {
			err = apptest.Scheduler(servers.From(cfg), os.Stdin)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if child.Self() == nil {
		return
	}
	if err := apptest.JobChild(servers.From(config.Config{})); err != nil { // else another test's child
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestJobs(t *testing.T) {
	apptest.Jobs(t, func(t *testing.T) af.Backend { return servers.From(configured(t)) })
}

func TestKilledSchedulersMissNoSecondAndDoubleNone(t *testing.T) {
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t))
	apptest.KilledSchedulers(t, servers.From(parse(t, text)), func() *exec.Cmd {
		return testkit.Command("jobs", "AF_TEST_CONFIG="+text)
	}, *jobsFor)
}

// Two Apps fire a job together, then one is killed. Each due time runs once, and only on allowed instances.
func TestJobsOverTheServers(t *testing.T) {
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t)))
	var mu sync.Mutex
	ran := map[string]string{} // where, by task
	var apps []*af.App
	var backends []*fault.Backend
	for i, ip := range []string{"10.0.0.1", "10.0.0.2"} {
		b := fault.New(servers.From(cfg), uint64(i), fault.Plan{})
		backends = append(backends, b)
		app, err := af.Open(t.Context(), b, af.IP(ip), af.Lease(3*time.Second),
			af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := app.Shutdown(ctx); err != nil && i > 0 {
				t.Error(err)
			}
		})
		af.HandleJob(app, "tick", "@every 1s", func(ctx context.Context, n int) error {
			mu.Lock()
			defer mu.Unlock()
			ran[af.TaskFrom(ctx).ID] += af.InstanceFrom(ctx).IP
			return nil
		}, af.Arguments(7), af.AllowIPs("10.0.0.0/31", "10.0.0.2"), af.Missed(af.MissedAll))
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		apps = append(apps, app)
	}
	j, err := apps[0].Job(t.Context(), "tick")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // both compete
	backends[0].Crash()
	waitFor(t, "six due times", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ran) >= 6
	})
	if err := apps[1].DisableJob(t.Context(), "tick"); err != nil {
		t.Fatal(err)
	}
	j2, err := apps[1].Job(t.Context(), "tick")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the last due time", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ran) == int(j2.Fired.Unix()-j.Created.Unix())
	})
	mu.Lock()
	defer mu.Unlock()
	for s := j.Created.Unix() + 1; s <= j2.Fired.Unix(); s++ {
		if where := ran[fmt.Sprint("job/tick/", s)]; where != "10.0.0.1" && where != "10.0.0.2" {
			t.Errorf("second %d ran at %q", s-j.Created.Unix(), where)
		}
	}
	fires, err := apps[1].Fires(t.Context(), af.FireQuery{Job: "tick"})
	if err != nil || fires.Total != len(ran) {
		t.Errorf("%d of %d fires recorded, %v", fires.Total, len(ran), err)
	}
}

// waitFor waits until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
