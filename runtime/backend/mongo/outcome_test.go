package mongo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/runtime/backend"
)

// An error with OutcomeNotSent promises that nothing has changed. The test makes the server unreachable before each
// command of each method in turn.
func TestErrorAfterChangeIsNotNotSent(t *testing.T) {
	insert := func(ctx context.Context, s backend.Store, tasks ...backend.NewTask) error {
		_, err := s.Insert(ctx, tasks)
		return err
	}
	begin := func(ctx context.Context, s backend.Store, id string) error { // a running task
		if err := insert(ctx, s, newTask(id)); err != nil {
			return err
		}
		_, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: id, Max: 1, IDs: []string{id}})
		return err
	}
	withSubtasks := func(ctx context.Context, s backend.Store, id string) error {
		if err := begin(ctx, s, id); err != nil {
			return err
		}
		return insert(ctx, s, newChild(backend.SubtaskID(id, "b", 0), id), newChild(backend.SubtaskID(id, "b", 1), id))
	}
	for name, test := range map[string]struct {
		prepare, do func(ctx context.Context, s backend.Store, id string) error
		atLeast     int // commands
	}{
		"insert_one_that_exists": {
			func(ctx context.Context, s backend.Store, id string) error { return insert(ctx, s, newTask(id+"a")) },
			func(ctx context.Context, s backend.Store, id string) error {
				return insert(ctx, s, newTask(id+"a"), newTask(id+"b"))
			}, 2,
		},
		"insert_subtasks": {
			begin,
			func(ctx context.Context, s backend.Store, id string) error {
				return insert(ctx, s, newChild(id+"/0", id))
			}, 2,
		},
		"spawn": {
			withSubtasks,
			func(ctx context.Context, s backend.Store, id string) error {
				return s.Spawn(ctx, backend.Spawn{Source: id, Batch: "b", Count: 2})
			}, 5,
		},
		"spawn_now": {
			withSubtasks,
			func(ctx context.Context, s backend.Store, id string) error {
				return s.Spawn(ctx, backend.Spawn{Source: id, Batch: "b", Now: true})
			}, 6,
		},
		"discard": {
			withSubtasks,
			func(ctx context.Context, s backend.Store, id string) error { return s.Discard(ctx, id, "b") }, 4,
		},
		"stop": {
			func(ctx context.Context, s backend.Store, id string) error {
				if err := withSubtasks(ctx, s, id); err != nil {
					return err
				}
				return s.Spawn(ctx, backend.Spawn{Source: id, Batch: "b"})
			},
			func(ctx context.Context, s backend.Store, id string) error {
				_, err := s.Stop(ctx, backend.Stop{ID: id, Reason: "enough"})
				return err
			}, 8,
		},
		"claim": {
			func(ctx context.Context, s backend.Store, id string) error { return insert(ctx, s, newTask(id)) },
			func(ctx context.Context, s backend.Store, id string) error {
				_, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: id, Max: 1, IDs: []string{id}})
				return err
			}, 1,
		},
		"claim_two": {
			func(ctx context.Context, s backend.Store, id string) error {
				return insert(ctx, s, newTask(id+"a"), newTask(id+"b"))
			},
			func(ctx context.Context, s backend.Store, id string) error {
				_, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: id, Max: 2,
					IDs: []string{id + "a", id + "b"}})
				return err
			}, 2,
		},
		"mark_retried": {
			func(ctx context.Context, s backend.Store, id string) error {
				if err := begin(ctx, s, id); err != nil {
					return err
				}
				_, err := s.Settle(ctx, []backend.Settle{{ID: id, Fence: 1, Nonce: id, To: backend.StatusFailed}})
				return err
			},
			func(ctx context.Context, s backend.Store, id string) error {
				_, err := s.MarkRetried(ctx, id, "", id+"-again")
				return err
			}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
			s := join(t, proxy.URI()).Store()
			ctx := t.Context()
			must(t, s.Beat(ctx, "o", 1))
			for n := 0; ; n++ {
				id := fmt.Sprintf("t%d", n)
				must(t, test.prepare(ctx, s, id))
				before := stored(t, proxy, id)
				var armed atomic.Bool
				armed.Store(true)
				for range 4 { // commands, some of which the driver retries
					lose := mongoproxy.AfterFirst(n, func(c *mongoproxy.Command) bool { return c.Collection() == "tasks" })
					proxy.Trap(mongoproxy.Before, func(c *mongoproxy.Command) bool { return armed.Load() && lose(c) }, nil)
				}
				err := test.do(ctx, s, id)
				armed.Store(false)
				if err == nil {
					if n < test.atLeast {
						t.Errorf("succeeded after %d commands, want at least %d", n, test.atLeast)
					}
					break
				}
				changed := !slices.Equal(before, stored(t, proxy, id))
				if o := backend.Coded(err).Outcome; changed && o == backend.OutcomeNotSent {
					t.Errorf("unreachable after %d commands: a change is reported as not sent: %v", n, err)
				}
				must(t, test.do(ctx, s, id))
			}
		})
	}
}

// stored returns the documents of tasks whose IDs begin with a prefix.
func stored(t *testing.T, proxy *mongoproxy.Proxy, prefix string) []string {
	t.Helper()
	cursor, err := proxy.Database().Collection("tasks").Find(t.Context(), bson.D{})
	must(t, err)
	var found []bson.Raw
	must(t, cursor.All(t.Context(), &found))
	var out []string
	for _, x := range found {
		if id := x.Lookup("_id").StringValue(); strings.HasPrefix(id, prefix) {
			out = append(out, x.String())
		}
	}
	slices.Sort(out)
	return out
}
