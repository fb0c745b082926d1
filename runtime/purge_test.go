package runtime_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// purges counts the purges of each process.
type purges struct {
	mu    sync.Mutex
	count map[string]int
	full  int // so many purges pretend that they have deleted as much as they may
}

// purging is a backend whose purges are counted.
type purging struct {
	backend.Backend
	all *purges
}

type purgeStore struct {
	backend.Store
	all      *purges
	instance string
}

func (s purgeStore) Purge(ctx context.Context, r backend.Retention, max int) (int, error) {
	n, err := s.Store.Purge(ctx, r, max)
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if err != nil {
		return n, err
	}
	s.all.count[s.instance]++
	if s.all.full--; s.all.full >= 0 {
		return max, nil
	}
	return n, nil
}

func (p purging) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := p.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = purgeStore{ports.Store, p.all, env.Instance.ID}
	}
	return ports, err
}

// take returns how many purges each process has made since the last call.
func (p *purges) take() map[string]int {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.count = map[string]int{} }()
	return p.count
}

// Of ten processes one purges, every minute. If it dies, another one continues within three minutes.
func TestOneProcessPurges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		all := &purges{count: map[string]int{}}
		processes := map[string]*fault.Backend{}
		for i := range 10 {
			b := fault.New(world, uint64(i), fault.Plan{})
			app, _ := work(t, purging{b, all}, jobWorker, same)
			processes[app.Instance().ID] = b
		}
		time.Sleep(90 * time.Second) // until the first purge
		first := ""
		for id := range all.take() {
			first = id
		}
		time.Sleep(30 * time.Minute)
		got := all.take()
		if n := got[first]; len(got) != 1 || n < 27 || n > 31 {
			t.Fatalf("in 30 minutes %s purged first, and then: %v", first, got)
		}
		processes[first].Crash()
		time.Sleep(3 * time.Minute)
		delete(processes, first)
		got = all.take()
		delete(got, first)
		if len(got) != 1 {
			t.Errorf("3 minutes after the purger's death: %v", got)
		}
	})
}

// A purger with more to delete than one request may continues at once, but gives up the turn every minute.
func TestPurgeContinues(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		all := &purges{count: map[string]int{}, full: 100}
		work(t, purging{memory.New(), all}, jobWorker, same)
		time.Sleep(70 * time.Second)
		if got := all.take(); len(got) != 1 {
			t.Fatal(got)
		} else {
			for _, n := range got {
				if n != 101 {
					t.Errorf("%d purges in a turn", n)
				}
			}
		}
	})
}

// Whatever the document of the purger says, expired tasks are deleted within minutes.
func TestPurgeWithStrangeDocument(t *testing.T) {
	for name, value := range map[string]string{
		"garbage": `"x"`,
		"future":  fmt.Sprintf(`{"instance": "gone", "at": %q}`, time.Now().AddDate(10, 0, 0).Format(time.RFC3339)),
		"past":    `{"instance": "gone", "at": "2001-02-03T04:05:06Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := memory.New()
				ports := must(b.Open(t.Context(), backend.Env{}))(t)
				must(ports.Docs.PutIf(t.Context(), "purger", 0, []byte(value)))(t)
				_, q := work(t, b, jobWorker, same, af.Retention(time.Minute, 0))
				id := must(q.Submit(t.Context(), 1))(t)
				time.Sleep(4 * time.Minute)
				if _, err := q.Get(t.Context(), id); backend.CodeOf(err) != backend.ErrNotFound {
					t.Error("the task was not deleted:", err)
				}
				if err := ports.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
