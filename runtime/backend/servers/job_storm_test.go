//go:build unix

package servers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	adapter "github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// A punctual is a backend that records when the tasks of fires are inserted. It is also their worker.
type punctual struct {
	af.Backend
	mu       sync.Mutex
	inserted map[string]time.Time // by task id, when Insert has returned
	begun    map[string]time.Time // when the handler was called
	since    time.Time            // fires that were due before are not recorded
}

var punctualWorker = af.Worker{Name: "punctual", Type: "Punctual", Max: 100, Backoff: time.Second, Weight: 1}

func (p *punctual) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := p.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = punctualStore{ports.Store, p}
	}
	return ports, err
}

func (p *punctual) Run(ctx context.Context, n int) (int, error) {
	p.note(p.begun, af.TaskFrom(ctx).ID)
	return n, nil
}

func (p *punctual) note(in map[string]time.Time, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := in[id]; !again && !dueOf(id).Before(p.since) {
		in[id] = time.Now()
	}
}

// dueOf returns the due time of a job's task.
func dueOf(id string) time.Time {
	due, _ := strconv.ParseInt(id[strings.LastIndexByte(id, '/')+1:], 10, 64)
	return time.Unix(due, 0)
}

func (p *punctual) count(in map[string]time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(in)
}

// late returns the sorted lateness of all fires after their due times, on the machine's clock, which is the server's.
func (p *punctual) late(in map[string]time.Time) (list []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range in {
		list = append(list, at.Sub(dueOf(id)))
	}
	slices.Sort(list)
	return list
}

type punctualStore struct {
	backend.Store
	p *punctual
}

func (s punctualStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	stored, err := s.Store.Insert(ctx, tasks)
	for _, t := range stored {
		s.p.note(s.p.inserted, t.ID)
	}
	return stored, err
}

// openPunctual opens an App over the servers, with a worker if works. It returns a client that bypasses a proxy.
func openPunctual(t testing.TB, works bool, proxied func(uri string) string) (*punctual, *af.App, *adapter.Client) {
	t.Helper()
	uri := devstack.Mongo(t)
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", proxied(uri),
		devstack.Redis(t), devstack.AMQP(t)))
	p := &punctual{Backend: servers.From(cfg), inserted: map[string]time.Time{}, begun: map[string]time.Time{}}
	app := apptest.Start(t, p, func(app *af.App) {
		if works {
			af.RegisterWorker(app, punctualWorker, p)
		}
	}, af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	base, _, _ := strings.Cut(uri, "?")
	c, err := adapter.New(adapter.Config{URI: uri, Database: base[strings.LastIndex(base, "/")+1:]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return p, app, c
}

// storm stores n jobs that fire every few seconds, in several phases one second apart. Writing documents is faster than
// n calls of Schedule.
func storm(t testing.TB, app *af.App, c *adapter.Client, n int, every time.Duration, phases int, o ...af.JobOption) {
	t.Helper()
	q := af.NewQueue[int, int](app, punctualWorker)
	if err := q.Schedule(t.Context(), "storm/0000", "@every "+every.String(), 1, o...); err != nil {
		t.Fatal(err)
	}
	doc, err := c.Docs().Get(t.Context(), "jobs/storm/0000")
	if err != nil {
		t.Fatal(err)
	}
	var docs []backend.Doc
	for i := 1; i < n; i++ {
		var job map[string]any
		if err := json.Unmarshal(doc.Value, &job); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"created", "done"} {
			job[field] = int64(job[field].(float64)) + int64(i%phases)
		}
		value, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, backend.Doc{Name: fmt.Sprintf("jobs/storm/%04d", i), Value: value})
	}
	puts, err := c.Docs().PutAll(t.Context(), docs)
	if err != nil || slices.ContainsFunc(puts, func(p backend.Put) bool { return p.Err != nil }) {
		t.Fatal(err, puts)
	}
}

// A thousand jobs that are due at once cost some tens of commands.
func TestStormOfJobsTakesFewCommands(t *testing.T) {
	const jobs = 1000
	for _, overlap := range []af.OverlapPolicy{af.OverlapAllow, af.OverlapSkip} {
		t.Run(string(overlap), func(t *testing.T) {
			var proxy *mongoproxy.Proxy
			p, app, c := openPunctual(t, false, func(uri string) string {
				proxy = mongoproxy.New(t, uri, mongoproxy.Config{})
				return proxy.URI()
			})
			storm(t, app, c, jobs, 20*time.Second, 1, af.Overlap(overlap), af.Missed(af.MissedAll))
			proxy.Spent()
			waitFor(t, "all fires to be recorded", func() bool {
				recorded, err := c.Docs().List(t.Context(), "fires/")
				if err != nil {
					t.Fatal(err)
				}
				if len(recorded) < jobs {
					return false
				}
				stored, err := c.Docs().List(t.Context(), "jobs/")
				return err == nil && !slices.ContainsFunc(stored, func(d backend.Doc) bool {
					return strings.Contains(string(d.Value), `"owed"`)
				})
			})
			if n := p.count(p.inserted); n != jobs {
				t.Errorf("%d tasks were inserted", n)
			}
			sum := 0
			for what, s := range proxy.Spent() {
				if strings.HasSuffix(what, " docs") || what == "insert tasks" {
					t.Logf("%-20s %4d, %v each", what, s.Commands, s.Took/time.Duration(s.Commands))
					sum += s.Commands
				}
			}
			if sum > 60 { // most of them read all jobs, every 5 s
				t.Errorf("%d commands", sum)
			}
		})
	}
}

// BenchmarkJobLateness prints how late the tasks of jobs are inserted, and how late they begin. Run it with
// -benchtime 1x on a quiet machine.
func BenchmarkJobLateness(b *testing.B) {
	for _, c := range []struct {
		name   string
		every  time.Duration
		phases int
		rounds int
	}{
		{"1000_at_once", 10 * time.Second, 1, 3},
		{"200_per_second", 5 * time.Second, 5, 3},
	} {
		b.Run(c.name, func(b *testing.B) {
			const jobs = 1000
			p, app, client := openPunctual(b, true, func(uri string) string { return uri })
			storm(b, app, client, jobs, c.every, c.phases)
			var first time.Time
			for b.Loop() {
				time.Sleep(c.every + 5*time.Second) // the scheduler has read all jobs
				p.mu.Lock()
				clear(p.inserted)
				clear(p.begun)
				first = time.Now().Truncate(time.Second).Add(time.Second) // tasks of the first fires may still wait
				p.since = first
				p.mu.Unlock()
				for deadline := time.Now().Add(time.Minute); p.count(p.begun) < jobs*c.rounds; time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						b.Fatalf("%d tasks have begun", p.count(p.begun))
					}
				}
			}
			for name, in := range map[string]map[string]time.Time{"insert": p.inserted, "begin": p.begun} {
				late := p.late(in)
				b.ReportMetric(float64(late[len(late)/2])/1e6, name+"-p50-ms")
				b.ReportMetric(float64(late[len(late)*99/100])/1e6, name+"-p99-ms")
				b.ReportMetric(float64(late[len(late)-1])/1e6, name+"-max-ms")
			}
			b.Logf("%d fires in %d s", p.count(p.begun), int(time.Since(first).Seconds()))
		})
	}
}
