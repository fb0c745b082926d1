package servers_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/recorder"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// A seen records the commands that drivers send, with the spans in their contexts.
type seen struct {
	rec *recorder.Recorder

	mu       sync.Mutex
	commands map[string][]string // ids of spans by command; "" without one
	pools    int
}

func (s *seen) add(ctx context.Context, command string) {
	id := ""
	if trace := s.rec.Trace(ctx); trace != "" {
		id = strings.Split(trace, "-")[2]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands[command] = append(s.commands[command], id)
}

// options returns options with monitors that add to s.
func (s *seen) options() []servers.Option {
	return []servers.Option{
		servers.MongoMonitor(nil), servers.MongoPoolMonitor(nil), servers.InstrumentRedis(nil),
		servers.MongoMonitor(&event.CommandMonitor{Failed: func(context.Context, *event.CommandFailedEvent) {}}),
		servers.MongoMonitor(&event.CommandMonitor{Started: func(ctx context.Context, e *event.CommandStartedEvent) {
			on, _ := e.Command.Lookup(e.CommandName).StringValueOK() // the collection
			text, reads := e.Command.String(), e.CommandName == "find"
			switch {
			case on == "tasks" && strings.Contains(text, `"fan_in"`) && !reads:
				s.add(ctx, "claim")
			case on == "tasks" && strings.Contains(text, `"settled"`) && !reads:
				s.add(ctx, "settle")
			case on == "tasks" && strings.Contains(text, `"progress"`) && !reads:
				s.add(ctx, "progress")
			default:
				s.add(ctx, e.CommandName+" "+on)
			}
		}}),
		servers.MongoPoolMonitor(&event.PoolMonitor{Event: func(*event.PoolEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pools++
		}}),
		servers.InstrumentRedis(func(c *redis.Client) error {
			c.AddHook(redisHook{s})
			return nil
		}),
	}
}

type redisHook struct{ *seen }

func (redisHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h redisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.add(ctx, "redis "+cmd.Name())
		return next(ctx, cmd)
	}
}

func (redisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// spans returns the spans of a command, as the names of operations: "submit other of attempt observed".
func (s *seen) spans(command string) []string {
	s.mu.Lock()
	ids := slices.Clone(s.commands[command])
	s.mu.Unlock()
	var names []string
	for _, id := range ids {
		names = append(names, s.name(id))
	}
	return names
}

func (s *seen) name(id string) string {
	if id == "" {
		return "none"
	}
	found := s.rec.Spans(func(sp *recorder.Span) bool { return sp.ID == id })
	if len(found) == 0 {
		return "root"
	}
	name := found[0].Kind + " " + cmp.Or(found[0].Start.Job, found[0].Start.Queue, found[0].Start.Service)
	if p := found[0].Parent; p != "" && s.name(p) != "root" {
		name += " of " + s.name(p)
	}
	return name
}

type watched struct{ app *af.App }

var (
	watchedWorker = af.Worker{Name: "watched", Type: "Watched", Max: 1}
	unusedWorker  = af.Worker{Name: "idle", Type: "Idle", Max: 1} // runs nowhere
	readMethod    = af.Method[string, string]{Service: "reader", Name: "Read", Timeout: 10 * time.Second}
)

func (w *watched) Run(ctx context.Context, n int) error {
	if n > 0 {
		return nil
	}
	t := af.TaskFrom(ctx)
	if err := t.Progress(ctx, 1); err != nil {
		return err
	}
	if _, err := w.app.GetTask(ctx, t.ID); err != nil {
		return err
	}
	if _, err := af.NewVoidQueue[int](w.app, unusedWorker).Subtasks(ctx, t.ID, []int{1}); err != nil {
		return err
	}
	_, err := readMethod.Call(ctx, af.NewClient(w.app), t.ID)
	return err
}

type reader struct{ app *af.App }

// The commands of an operation have its span, and those of the background and of calls over RabbitMQ have none.
func TestCommandsHaveTheSpansOfOperations(t *testing.T) {
	rec := &recorder.Recorder{}
	s := &seen{rec: rec, commands: map[string][]string{}}
	app := apptest.Open(t, servers.From(configured(t), s.options()...), af.Instrument(rec),
		af.Logger(slog.New(slog.DiscardHandler)))
	w := &watched{app}
	af.RegisterVoidWorker(app, watchedWorker, w)
	af.RegisterService(app, af.Service{Name: "reader", Type: "Reader", Concurrency: 1}, &reader{app},
		af.Bind(&readMethod, func(ctx context.Context, r *reader, id string) (string, error) {
			task, err := r.app.GetTask(ctx, id)
			return string(task.Status), err
		}))
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, _ := rec.Root(t.Context())
	q := af.NewVoidQueue[int](app, watchedWorker)
	id, err := q.Submit(ctx, 0, af.RequireWorker())
	if err != nil {
		t.Fatal(err)
	}
	if task, err := app.WaitTask(ctx, id); err != nil || task.Status != af.StatusSuccess {
		t.Fatalf("%v, %v", task, err)
	}
	if err := q.Schedule(t.Context(), "often", "* * * * * *", 1); err != nil {
		t.Fatal(err)
	}
	has := func(command, span string) bool { return slices.Contains(s.spans(command), span) }
	for _, want := range []struct{ command, span string }{
		{"redis evalsha", "submit watched"}, // of RequireWorker
		{"insert tasks", "submit watched"},
		{"find tasks", "root"}, // of WaitTask
		{"progress", "attempt watched of submit watched"},
		{"find tasks", "attempt watched of submit watched"},
		{"insert tasks", "submit idle of attempt watched of submit watched"},
		{"find tasks", "handle reader of call reader of attempt watched of submit watched"},
		{"settle", "attempt watched of submit watched"},
		{"insert tasks", "submit often"}, // of the job
		{"claim", "none"},
		{"update owners", "none"}, // heartbeats
		{"redis evalsha", "none"},
	} {
		testkit.Eventually(t, want.command+" of "+want.span, func() bool { return has(want.command, want.span) })
	}
	for _, span := range s.spans("claim") {
		if span != "none" {
			t.Errorf("a claim has the span %s", span)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for command, ids := range s.commands {
		for _, id := range ids {
			if strings.HasPrefix(s.name(id), "call") {
				t.Errorf("%s has the span of a call over RabbitMQ", command)
			}
		}
	}
	if s.pools == 0 {
		t.Error("no event of a connection")
	}
}

// The commands that a handler in a child process causes have the span of its attempt in the parent, which sends them.
func TestCommandsOfChildProcessesHaveSpans(t *testing.T) {
	rec := &recorder.Recorder{}
	s := &seen{rec: rec, commands: map[string][]string{}}
	app, err := isolatedMain(t.Context(), servers.From(configured(t), s.options()...), af.Instrument(rec),
		af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	q := af.NewQueue[int, whereabouts](app, isolatedWorker)
	id, err := q.Submit(t.Context(), 1)
	if err == nil {
		_, err = q.Wait(t.Context(), id)
	}
	if err = errors.Join(err, app.Shutdown(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatal(err)
	}
	if spans := s.spans("insert tasks"); !slices.Contains(spans, "attempt isolated of submit isolated") {
		t.Errorf("tasks are inserted with the spans %q", spans)
	}
}

// A function that can't instrument the client of Redis fails the opening.
func TestInstrumentRedisFails(t *testing.T) {
	_, err := af.Open(t.Context(), servers.From(configured(t), servers.InstrumentRedis(func(*redis.Client) error {
		return errors.New("no tracer")
	})), af.Logger(slog.New(slog.DiscardHandler)))
	if err == nil || !strings.Contains(err.Error(), "redis: instrumenting the client: ") ||
		!strings.Contains(err.Error(), "no tracer") {
		t.Errorf("got %v", err)
	}
}
