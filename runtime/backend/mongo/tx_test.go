package mongo_test

import (
	"context"
	"os"
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
