package aftest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// A mailServer counts the mails that it has sent, and drops those with a key that it knows.
type mailServer struct {
	mu    sync.Mutex
	sent  []string
	known map[string]bool
}

func (s *mailServer) send(key, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != "" && s.known[key] {
		return
	}
	if s.known == nil {
		s.known = map[string]bool{}
	}
	s.known[key] = true
	s.sent = append(s.sent, to)
}

func (s *mailServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// mails returns a worker of queue mail with a function as its Run.
func mails(run func(ctx context.Context, to string) error) func(*af.App) {
	return func(app *af.App) { af.RegisterVoidWorker(app, mailWorker, &handler{run}) }
}

type handler struct {
	run func(ctx context.Context, to string) error
}

func (h *handler) Run(ctx context.Context, to string) error { return h.run(ctx, to) }

var mailWorker = af.Worker{Name: "mail", Type: "Mailer", Max: 2, Retries: 20, Backoff: time.Second, Weight: 1}

func submitMail(t *testing.T, c *aftest.Cluster, to string) string {
	t.Helper()
	id, err := mailQueue(c).Submit(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mailQueue(c *aftest.Cluster) af.VoidQueue[string] {
	return af.NewVoidQueue[string](c.Client(), mailWorker)
}

func awaitMail(t *testing.T, c *aftest.Cluster, id string) af.Task {
	t.Helper()
	if err := mailQueue(c).Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	task, err := c.Client().GetTask(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// A task whose process crashes runs again in another process. No attempt is charged.
func TestCrashedTaskRunsAgain(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		var begun []string
		var fences []int64
		register := mails(func(ctx context.Context, to string) error {
			r := af.TaskFrom(ctx)
			begun, fences = append(begun, af.InstanceFrom(ctx).ID), append(fences, r.Fence)
			if len(begun) == 1 {
				c.Crash(ctx)
				t.Error("Crash returned")
			}
			return nil
		})
		c.Start(register)
		c.Start(register)
		start := time.Now()
		task := awaitMail(t, c, submitMail(t, c, "ada"))
		if task.Attempt != 1 || len(begun) != 2 || begun[0] == begun[1] || fences[1] <= fences[0] {
			t.Errorf("attempt %d, processes %v, fences %v", task.Attempt, begun, fences)
		}
		if took := time.Since(start); took < 10*time.Second || took > time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

// A process that crashes is started again, so that one process is enough. The context of a handler ends with it.
func TestCrashedProcessStartsAgain(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		causes := make(chan error, 1)
		runs := 0
		p := c.Start(mails(func(ctx context.Context, to string) error {
			if runs++; runs > 1 {
				return nil
			}
			c.Process(ctx).Crash()
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}))
		before := p.App()
		awaitMail(t, c, submitMail(t, c, "ada"))
		if p.App() == before {
			t.Error("the process has the same App")
		}
		if err := <-causes; err == nil {
			t.Error("no cause")
		}
	})
}

// A result that is lost makes the task run again after its effect: the naive handler sends two mails, the one that uses
// a key sends one.
func TestLostResultRepeatsTheEffect(t *testing.T) {
	for name, want := range map[string]int{"naive": 2, "key": 1} {
		t.Run(name, func(t *testing.T) {
			aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
				var server mailServer
				runs := 0
				c.Start(mails(func(ctx context.Context, to string) error {
					if runs++; runs == 1 {
						c.Process(ctx).LoseResult()
					}
					key := ""
					if name == "key" {
						key = af.TaskFrom(ctx).ID
					}
					server.send(key, to)
					return nil
				}))
				if task := awaitMail(t, c, submitMail(t, c, "ada")); task.Attempt != 1 {
					t.Errorf("attempt %d", task.Attempt)
				}
				if runs != 2 || server.count() != want {
					t.Errorf("%d runs, %d mails, want %d", runs, server.count(), want)
				}
			})
		})
	}
}

func TestStoreDownRefusesRequests(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		c.Start(mails(func(context.Context, string) error { return nil }))
		c.StoreDown(10 * time.Second)
		c.StoreDown(time.Second) // overlaps, and does not shorten the first
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if id, err := mailQueue(c).Submit(ctx, "ada"); err == nil {
			t.Errorf("task %s was submitted in an outage", id)
		}
		time.Sleep(6 * time.Second)
		awaitMail(t, c, submitMail(t, c, "ada"))
	})
}

// The reply to a handler's own submission is lost. The next attempt submits with the same id, and finds the task.
func TestLostRepliesReachHandlers(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		var errs []error
		var p *aftest.Process
		p = c.Start(mails(func(ctx context.Context, to string) error {
			queue := af.NewVoidQueue[string](p.App(), af.Worker{Name: "audit", Type: "Audit"})
			if len(errs) == 0 {
				c.LoseReplies(1)
				defer c.LoseReplies(0)
			}
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := queue.Submit(ctx, to, af.TaskID("audit-"+af.TaskFrom(ctx).ID))
			errs = append(errs, err)
			return err
		}))
		task := awaitMail(t, c, submitMail(t, c, "ada"))
		if e, ok := errors.AsType[*af.Error](errs[0]); !ok || e.Outcome != af.OutcomeUnknown || len(errs) != 2 {
			t.Errorf("the handler got %v", errs)
		}
		audit, err := c.Client().GetTask(t.Context(), "audit-"+task.ID)
		if err != nil || !audit.Created.Before(task.Started) {
			t.Errorf("task of the lost reply: %+v, %v", audit, err)
		}
	})
}

// The caller of a service whose process crashes can't know whether the call took effect. Nor can one whose reply is
// lost.
func TestCallsOfCrashedServiceHaveUnknownOutcome(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		handled := 0
		method := &af.Method[struct{}, struct{}]{Service: "till", Name: "Open"}
		open := func(app *af.App) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := method.Call(ctx, af.NewClient(app, af.WaitForReady()), struct{}{})
			return err
		}
		c.Start(func(app *af.App) {
			af.RegisterService(app, af.Service{Name: "till", Type: "Till", Concurrency: 1}, &till{},
				af.Bind(method, func(ctx context.Context, _ *till, _ struct{}) (struct{}, error) {
					if handled++; handled == 1 {
						c.Crash(ctx)
					}
					return struct{}{}, nil
				}))
		})
		caller := c.Start(func(*af.App) {})
		unknown := func(what string, err error, want int) {
			t.Helper()
			if e, ok := errors.AsType[*af.Error](err); !ok || e.Code != af.ErrUnavailable ||
				e.Outcome != af.OutcomeUnknown || handled != want {
				t.Errorf("%s: %v, handled %d times", what, err, handled)
			}
		}
		unknown("crash", open(caller.App()), 1)
		if err := open(caller.App()); err != nil { // another process of the service
			t.Error(err)
		}
		c.LoseReplies(1)
		unknown("lost reply", open(caller.App()), 3)
		c.LoseReplies(0)
	})
}

type till struct{}

func TestFaultsNeedAHandler(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		c.Process(t.Context())
	})
}

func TestSlowStoreDelaysTasks(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		c.Start(mails(func(context.Context, string) error { return nil }))
		c.SlowStore(time.Second)
		time.Sleep(time.Second)
		start := time.Now()
		awaitMail(t, c, submitMail(t, c, "ada"))
		if took := time.Since(start); took < 50*time.Millisecond {
			t.Errorf("took %v with a slow store", took)
		}
	})
}

// A partition that exceeds the lease ends the contexts of handlers, and their tasks run elsewhere.
func TestPartitionLosesTheLease(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		var causes []error
		runs := 0
		register := mails(func(ctx context.Context, to string) error {
			if runs++; runs > 1 {
				return nil
			}
			c.Process(ctx).Partition(time.Minute)
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx))
			return ctx.Err()
		})
		c.Start(register)
		c.Start(register)
		awaitMail(t, c, submitMail(t, c, "ada"))
		if len(causes) != 1 || !errors.Is(causes[0], af.ErrLeaseLost) || runs != 2 {
			t.Errorf("causes %v, %d runs", causes, runs)
		}
	})
}

func TestRestartDrains(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		runs := 0
		p := c.Start(mails(func(ctx context.Context, to string) error {
			if runs++; runs > 1 {
				return nil
			}
			c.Process(ctx).Restart()
			<-af.Draining(ctx)
			return af.Snooze(time.Second)
		}))
		before := p.App()
		if task := awaitMail(t, c, submitMail(t, c, "ada")); task.Attempt != 1 || p.App() == before || runs != 2 {
			t.Errorf("attempt %d, %d runs", task.Attempt, runs)
		}
	})
}

// In storms, each order is sent at least once, and exactly once to those who use the key.
func TestStorm(t *testing.T) {
	repeated := 0
	aftest.Seeds(t, 20, func(t *testing.T, c *aftest.Cluster) {
		var naive, keyed mailServer
		register := mails(func(ctx context.Context, to string) error {
			naive.send("", to)
			time.Sleep(time.Second)
			keyed.send(af.TaskFrom(ctx).ID, to)
			return nil
		})
		c.Start(register)
		c.Start(register)
		var ids []string
		for n := range 10 {
			ids = append(ids, submitMail(t, c, fmt.Sprint("user-", n)))
		}
		c.Storm(time.Minute)
		for _, id := range ids {
			awaitMail(t, c, id)
		}
		if keyed.count() != len(ids) {
			t.Errorf("%d mails for %d tasks", keyed.count(), len(ids))
		}
		repeated += naive.count() - len(ids)
	})
	t.Logf("%d effects were repeated", repeated)
	if repeated == 0 {
		t.Error("no storm has repeated an effect")
	}
}
