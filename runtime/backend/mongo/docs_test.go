package mongo_test

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// PutAll sends new documents and changes of others by two commands. If the server is lost with the reply to the first,
// the outcome is unknown, although the second was not sent.
func TestPutAllWithoutReplyIsUnknown(t *testing.T) {
	inner := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
	outer, uri := testkit.NewProxyURI(t, inner.URI(), testkit.ProxyConfig{})
	docs := join(t, uri, func(c *mongo.Config) { c.Patience = 500 * time.Millisecond }).Docs()
	rev, err := docs.PutIf(t.Context(), "old", 0, []byte("1"))
	must(t, err)
	lost := inner.Trap(mongoproxy.After, mongoproxy.Inserts("docs"), func(*mongoproxy.Command) { outer.Refuse() })
	_, err = docs.PutAll(t.Context(), []backend.Doc{{Name: "new", Value: []byte("2")},
		{Name: "old", Revision: rev, Value: []byte("3")}})
	select {
	case <-lost.Sprung():
	default:
		t.Fatal("nothing was lost")
	}
	if e := backend.Coded(err); err == nil || e.Code != backend.ErrUnavailable || e.Outcome != backend.OutcomeUnknown {
		t.Errorf("%v, %v", err, e.Outcome)
	}
}
