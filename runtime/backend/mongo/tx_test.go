package mongo_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// If the server is lost with the reply to a commit, the outcome is unknown, although the driver's next try to commit was
// not sent.
func TestCommitWithoutReplyIsUnknown(t *testing.T) {
	if os.Getenv("AF_TEST_TOPOLOGY") == "standalone" {
		t.Skip("a standalone server has no transactions")
	}
	inner := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
	outer, uri := testkit.NewProxyURI(t, inner.URI(), testkit.ProxyConfig{})
	c := join(t, uri, func(c *mongo.Config) { c.Patience = 500 * time.Millisecond })
	inner.Trap(mongoproxy.After, mongoproxy.Named("commitTransaction"), func(*mongoproxy.Command) { outer.Refuse() })
	hinted := false
	err := c.InTx(t.Context(), func(ctx context.Context) error {
		backend.TxFrom(ctx).AfterCommit(func() { hinted = true })
		_, err := c.Store().Insert(ctx, []backend.NewTask{newTask("a")})
		return err
	})
	if e := backend.Coded(err); err == nil || e.Code != backend.ErrUnavailable || e.Outcome != backend.OutcomeUnknown {
		t.Errorf("%v, %v", err, e.Outcome)
	}
	if n := len(stored(t, inner, "a")); n != 1 || !hinted {
		t.Errorf("%d tasks are stored; hinted: %v", n, hinted)
	}
}

// A commit whose replies are lost, also that of the driver's own second try, is repeated until there is one.
func TestCommitIsRepeated(t *testing.T) {
	if os.Getenv("AF_TEST_TOPOLOGY") == "standalone" {
		t.Skip("a standalone server has no transactions")
	}
	proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
	c := join(t, proxy.URI())
	lost := []*mongoproxy.Trap{loseReply(proxy, "commitTransaction"), loseReply(proxy, "commitTransaction")}
	calls := 0
	err := c.InTx(t.Context(), func(ctx context.Context) error {
		calls++
		_, err := c.Store().Insert(ctx, []backend.NewTask{newTask("a")})
		return err
	})
	if n := len(stored(t, proxy, "a")); err != nil || n != 1 || calls != 1 {
		t.Errorf("%v; %d tasks are stored after %d calls", err, n, calls)
	}
	for _, trap := range lost {
		select {
		case <-trap.Sprung():
		default:
			t.Error("a reply was not lost")
		}
	}
}

// While a server hangs, a transaction ends with its context, or if it has none soon after the server counts as down.
func TestTransactionOnHangingServer(t *testing.T) {
	if os.Getenv("AF_TEST_TOPOLOGY") == "standalone" {
		t.Skip("a standalone server has no transactions")
	}
	errMine := errors.New("mine")
	base, _, _ := strings.Cut(devstack.Mongo(t), "?")
	for _, tt := range []struct {
		name    string
		hangs   string // from when on
		timeout time.Duration
		err     error
		outcome backend.Outcome
	}{
		{"insert", "insert", time.Second, backend.ErrDeadlineExceeded, backend.OutcomeNotSent},
		{"commit", "end", time.Second, backend.ErrDeadlineExceeded, backend.OutcomeUnknown},
		{"commit_without_deadline", "end", 0, backend.ErrUnavailable, backend.OutcomeUnknown},
		{"abort", "end", 0, errMine, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy, through := testkit.NewProxyURI(t, base, testkit.ProxyConfig{})
			c := join(t, through+"?directConnection=true")
			ctx := t.Context()
			if tt.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.timeout)
				defer cancel()
			}
			begun := time.Now()
			err := c.InTx(ctx, func(ctx context.Context) error {
				_, err := c.Store().Insert(ctx, []backend.NewTask{newTask(tt.name)})
				must(t, err)
				proxy.Block(testkit.Requests)
				switch {
				case tt.hangs == "insert":
					_, err = c.Store().Insert(ctx, []backend.NewTask{newTask(tt.name + "2")})
					return err
				case tt.err == errMine:
					return errMine
				}
				return nil
			})
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v", err, tt.err)
			}
			if e := backend.Coded(err); tt.err != errMine && e.Outcome != tt.outcome {
				t.Errorf("outcome %v of %v", e.Outcome, err)
			}
			proxy.Restore()
		})
	}
}
