package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// storeTasks are the tasks of a scheduler that inserts nothing.
type storeTasks struct {
	Store
	statuses map[string]backend.Status
}

func (storeTasks) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (s storeTasks) Statuses(_ context.Context, ids []string) (map[string]backend.Status, error) {
	found := map[string]backend.Status{}
	for _, id := range ids {
		if status, ok := s.statuses[id]; ok {
			found[id] = status
		}
	}
	return found, nil
}

// scheduler returns a leading scheduler with n stored jobs that aren't due, and their documents.
func scheduler(t *testing.T, n int, tasks storeTasks) (*Scheduler, backend.Docs) {
	t.Helper()
	ports, err := memory.New().Open(t.Context(), backend.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_, s := New(Config{
		Docs: ports.Docs, Store: tasks, Coordinator: &presence{ids: map[string]json.RawMessage{}}, Instance: "i",
		Requests: retry.NewRequester(t.Context(), func() bool { return false }), Log: slog.New(slog.DiscardHandler),
	}, nil)
	for i := range n {
		put(t, ports.Docs, &Document{id: fmt.Sprintf("j%d", i), Content: Content{Cron: "@every 1h"}})
	}
	s.jobs, s.wrote, s.failed = nil, map[string]int64{}, failures{}
	return s, ports.Docs
}

// put stores a job that was created now.
func put(t *testing.T, docs backend.Docs, j *Document) {
	t.Helper()
	j.Created = time.Now().Unix()
	j.Done = j.Created
	value, err := j.encode()
	if err == nil {
		_, err = docs.PutIf(t.Context(), docPrefix+j.id, j.revision, value)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnchangedJobsAreDecodedOnce(t *testing.T) {
	s, docs := scheduler(t, 3, storeTasks{})
	if err := s.readAll(t.Context()); err != nil || len(s.jobs) != 3 {
		t.Fatal(s.jobs, err)
	}
	first := *s.jobs["j0"]
	before := map[string]*Document{"j0": s.jobs["j0"], "j1": s.jobs["j1"], "j2": s.jobs["j2"]}
	put(t, docs, &Document{id: "j1", revision: s.jobs["j1"].revision, Content: Content{Cron: "@every 2h"}})
	for name, read := range map[string]func() error{
		"all": func() error { return s.readAll(t.Context()) },
		"stale": func() error {
			return s.readStale(t.Context(), map[string]bool{"j0": true, "j1": true, "j2": true})
		},
	} {
		if err := read(); err != nil {
			t.Fatal(err)
		}
		if s.jobs["j0"] != before["j0"] || s.jobs["j2"] != before["j2"] || s.jobs["j1"] == before["j1"] {
			t.Errorf("%s: decoded again: %v and %v, the changed job kept: %v", name, s.jobs["j0"] != before["j0"],
				s.jobs["j2"] != before["j2"], s.jobs["j1"] == before["j1"])
		}
		if s.jobs["j1"].Cron != "@every 2h" || !s.jobs["j0"].read.After(first.read) {
			t.Errorf("%s: %+v, read at %v, before at %v", name, s.jobs["j1"], s.jobs["j0"].read, first.read)
		}
	}
}

// A pass without work allocates nothing for each job.
func TestCostOfIdlePass(t *testing.T) {
	allocs := func(n int) float64 {
		s, _ := scheduler(t, n, storeTasks{})
		if _, err := s.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(100, func() {
			if _, err := s.pass(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if one, many := allocs(1), allocs(500); many > one+5 {
		t.Errorf("%v allocations with one job, %v with 500", one, many)
	}
}

// A job whose pending task waits for an earlier one is what is stored, although the pass has dropped ended tasks of it.
func TestPassWithoutWriteKeepsJob(t *testing.T) {
	s, docs := scheduler(t, 0, storeTasks{statuses: map[string]backend.Status{
		"ended": backend.StatusSuccess, "runs": backend.StatusRunning,
	}})
	due := time.Now().Unix()
	put(t, docs, &Document{
		id: "j", Content: Content{Cron: "@every 1h", Overlap: OverlapQueue}, Live: []string{"ended", "runs"},
		Pending: []Firing{{Due: due}},
	})
	for range 2 {
		if _, err := s.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if j := s.jobs["j"]; !slices.Equal(j.Live, []string{"ended", "runs"}) || len(j.Pending) != 1 {
			t.Errorf("%+v", j)
		}
	}
}
