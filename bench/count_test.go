package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// counts are numbers of operations by name.
type counts map[string]int64

// total returns the number of all operations.
func (c counts) total() int64 {
	var n int64
	for _, k := range c {
		n += k
	}
	return n
}

// since returns the difference from an earlier snapshot.
func (c counts) since(before counts) counts {
	added := counts{}
	for name, n := range c {
		if n -= before[name]; n != 0 {
			added[name] = n
		}
	}
	return added
}

// without returns the counts except those whose names begin with prefix.
func (c counts) without(prefix string) counts {
	c = maps.Clone(c)
	maps.DeleteFunc(c, func(name string, _ int64) bool { return strings.HasPrefix(name, prefix) })
	return c
}

// per returns the counts for each of n tasks, for the log.
func (c counts) per(n int) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, " %s %.3f", name, float64(c[name])/float64(n))
	}
	return strings.TrimSpace(b.String())
}

// An op is a method of [backend.Store] that a task's progress calls.
type op int

const (
	opInsert op = iota
	opClaim
	opSettle
	opPromote
	opFinish
	opProgress
	opSpawn
	opDiscard
	opOpen
	opStop
	opGet
	opList
	ops
)

var opNames = [ops]string{
	"Insert", "Claim", "Settle", "Promote", "Finish", "Progress", "Spawn", "Discard", "Open", "Stop", "Get", "List",
}

// storeCalls counts the calls of a deployment's Apps on the Store port, and the tasks that they settle. It is safe
// for concurrent use.
type storeCalls struct {
	ops     [ops]atomic.Int64
	settled atomic.Int64  // tasks whose runs have ended, as confirmed by the store
	changed chan struct{} // receives after settled has changed
}

func newStoreCalls() *storeCalls { return &storeCalls{changed: make(chan struct{}, 1)} }

// counts returns the current counts.
func (s *storeCalls) counts() counts {
	c := counts{}
	for i := range s.ops {
		c[opNames[i]] = s.ops[i].Load()
	}
	return c
}

// stuckAfter is how long awaitSettled waits without progress.
const stuckAfter = time.Minute

// awaitSettled waits until n tasks have been settled since the deployment was created. One goroutine may wait at a
// time.
func (s *storeCalls) awaitSettled(tb testing.TB, n int64) {
	tb.Helper()
	stuck := time.NewTimer(stuckAfter)
	defer stuck.Stop()
	for s.settled.Load() < n {
		select {
		case <-s.changed:
			stuck.Reset(stuckAfter)
		case <-stuck.C:
			tb.Fatalf("%d of %d tasks are settled, and none in the last %v", s.settled.Load(), n, stuckAfter)
		}
	}
}

// counted is a backend that counts the calls of its Store.
type counted struct {
	backend.Backend
	calls *storeCalls
}

// Open implements [backend.Backend].
func (c counted) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := c.Backend.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	out := *ports
	out.Store = countStore(ports.Store, c.calls)
	return &out, nil
}

// A processWatcher is an optional interface of a Store that learns from the operating system that a process has
// exited. The runtime uses a type assertion.
type processWatcher interface {
	Dead(ctx context.Context, owners []string) ([]string, error)
	Deaths() <-chan struct{}
}

// countStore returns s with counted calls and the same optional methods.
func countStore(s backend.Store, calls *storeCalls) backend.Store {
	c := countedStore{s, calls}
	if w, ok := s.(processWatcher); ok {
		return struct {
			countedStore
			processWatcher
		}{c, w}
	}
	return c
}

// A countedStore counts the methods that it declares. It embeds the Store for the others, which the clock calls and
// not the progress of tasks.
type countedStore struct {
	backend.Store
	calls *storeCalls
}

// count counts a call of o, and returns a context with its purpose.
func (s countedStore) count(ctx context.Context, o op) context.Context {
	s.calls.ops[o].Add(1)
	return context.WithValue(ctx, purpose{}, o)
}

// purpose is the context key of the op.
type purpose struct{}

func (s countedStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	return s.Store.Insert(s.count(ctx, opInsert), tasks)
}

func (s countedStore) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	return s.Store.Claim(s.count(ctx, opClaim), c)
}

func (s countedStore) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	settled, err := s.Store.Settle(s.count(ctx, opSettle), settles)
	for _, r := range settled {
		if r == backend.SettledApplied {
			s.calls.settled.Add(1)
		}
	}
	select {
	case s.calls.changed <- struct{}{}:
	default:
	}
	return settled, err
}

func (s countedStore) Promote(
	ctx context.Context, queue string, max int,
) (ids []string, failed []backend.Task, next time.Duration, err error) {
	return s.Store.Promote(s.count(ctx, opPromote), queue, max)
}

func (s countedStore) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	return s.Store.Promotable(s.count(ctx, opPromote), queues, within)
}

func (s countedStore) Finish(ctx context.Context, source string) (bool, string, error) {
	return s.Store.Finish(s.count(ctx, opFinish), source)
}

func (s countedStore) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	return s.Store.Progress(s.count(ctx, opProgress), id, fence, progress)
}

func (s countedStore) Spawn(ctx context.Context, sp backend.Spawn) error {
	return s.Store.Spawn(s.count(ctx, opSpawn), sp)
}

func (s countedStore) Discard(ctx context.Context, source, batch string) error {
	return s.Store.Discard(s.count(ctx, opDiscard), source, batch)
}

func (s countedStore) Open(ctx context.Context, source string) ([]string, error) {
	return s.Store.Open(s.count(ctx, opOpen), source)
}

func (s countedStore) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	return s.Store.Stop(s.count(ctx, opStop), st)
}

func (s countedStore) Get(ctx context.Context, id string) (backend.Task, error) {
	return s.Store.Get(s.count(ctx, opGet), id)
}

func (s countedStore) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	return s.Store.List(s.count(ctx, opList), q)
}

// A counted Store has every method of the Store that it wraps, including optional interfaces; otherwise the runtime
// would behave differently while it is measured.
func TestCountedStoreHasAllMethods(t *testing.T) {
	client := reflect.TypeFor[*mongo.Client]() // MongoDB's Store embeds it
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			d := k.deploy(t)
			self := backend.Instance{ID: d.name, IP: "127.0.0.1"}
			ports, err := d.backend.(counted).Backend.Open(t.Context(),
				backend.Env{Instance: self, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := ports.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			have := reflect.TypeOf(countStore(ports.Store, newStoreCalls()))
			for m := range reflect.TypeOf(ports.Store).Methods() {
				_, ok := have.MethodByName(m.Name)
				if _, foreign := client.MethodByName(m.Name); !ok && !foreign {
					t.Errorf("%s is missing", m.Name)
				}
			}
		})
	}
}
