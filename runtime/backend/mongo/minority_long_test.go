//go:build long

package mongo_test

import (
	"context"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A primary that has lost the majority keeps a write which the next primary may not have. Repeating the operation doesn't
// succeed because of that write.
func TestLongRetryOnMinorityDoesNotSucceed(t *testing.T) {
	for name, test := range map[string]struct {
		prepare, do func(ctx context.Context, s backend.Store) error
	}{
		"claim": {
			func(context.Context, backend.Store) error { return nil },
			func(ctx context.Context, s backend.Store) error {
				_, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1, OwnerChecked: true})
				return err
			},
		},
		"claim_by_id": {
			func(context.Context, backend.Store) error { return nil },
			func(ctx context.Context, s backend.Store) error {
				_, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1, IDs: []string{"a"},
					OwnerChecked: true})
				return err
			},
		},
		"spawn": {
			func(ctx context.Context, s backend.Store) error {
				_, err := s.Insert(ctx, []backend.NewTask{newChild("a/b/0", "a")})
				return err
			},
			func(ctx context.Context, s backend.Store) error {
				return s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "b", Count: 1})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			rs := devstack.ReplicaSet(t, 3)
			must(t, rs.Await())
			s := join(t, devstack.WithDatabase(rs.URI, devstack.Name(t))).Store()
			ctx := t.Context()
			must(t, s.Beat(ctx, "o", 1))
			_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
			must(t, err)
			must(t, test.prepare(ctx, s))
			primary, err := rs.Primary()
			must(t, err)
			for _, m := range rs.Members {
				if m != primary {
					must(t, m.Freeze())
					defer func() { must(t, m.Thaw()) }()
				}
			}
			for range 6 { // each command of an operation may wait for the majority
				within, cancel := context.WithTimeout(ctx, time.Second)
				err := test.do(within, s)
				cancel()
				if err == nil {
					t.Fatal("succeeded without a majority")
				}
			}
		})
	}
}
