package mongo_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// pairOf opens a database with two clients that use a shared clock. It returns one of them, and ports that alternate
// between the two, so that no call can rely on the memory of a client. The database is emptied when the test ends.
func pairOf(
	t *testing.T, uri string, skip *conform.Skip, change ...func(*mongo.Config),
) (*backend.Ports, *mongo.Client) {
	a, b := skipping(join(t, uri, change...), skip), skipping(join(t, uri, change...), skip)
	ports := portsOf(a)
	ports.Store = &inTurnStore{stores: [2]backend.Store{a.Store(), b.Store()}}
	ports.Docs = &inTurnDocs{docs: [2]backend.Docs{a.Docs(), b.Docs()}}
	wipe(t, uri)
	return ports, a
}

// The store conforms with two clients, and every query uses an index.
func TestStoreConformsWithTwoClients(t *testing.T) {
	var s conform.Skip
	o := s.Options(options)
	o.Overtake = 3 // two clients may insert at the same moment
	seen := newPlans()
	uri := devstack.Mongo(t)
	conform.Store(t, func(t *testing.T) *backend.Ports {
		ports, client := pairOf(t, uri, &s, seen.watch)
		t.Cleanup(func() { seen.check(t, client) })
		return ports
	}, o)
	if len(seen.seen) < 40 {
		t.Errorf("saw only %d query shapes", len(seen.seen))
	}
}

func TestDocsConformWithTwoClients(t *testing.T) {
	uri := devstack.Mongo(t)
	conform.Docs(t, func(t *testing.T) *backend.Ports {
		ports, _ := pairOf(t, uri, new(conform.Skip))
		return ports
	}, options)
}

type inTurnStore struct {
	stores [2]backend.Store
	n      atomic.Int64
}

func (s *inTurnStore) next() backend.Store { return s.stores[s.n.Add(1)%2] }

func (s *inTurnStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	return s.next().Insert(ctx, tasks)
}

func (s *inTurnStore) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	return s.next().Claim(ctx, c)
}

func (s *inTurnStore) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	return s.next().Settle(ctx, settles)
}

func (s *inTurnStore) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	return s.next().Progress(ctx, id, fence, progress)
}

func (s *inTurnStore) Beat(ctx context.Context, owner string, count int64) error {
	return s.next().Beat(ctx, owner, count)
}

func (s *inTurnStore) Drain(ctx context.Context, owner string) error {
	return s.next().Drain(ctx, owner)
}

func (s *inTurnStore) Owners(ctx context.Context) (map[string]backend.Heartbeat, error) {
	return s.next().Owners(ctx)
}

func (s *inTurnStore) ExpireOwner(
	ctx context.Context, owner string, count int64, maxCrashes int,
) ([]backend.Task, error) {
	return s.next().ExpireOwner(ctx, owner, count, maxCrashes)
}

func (s *inTurnStore) Refund(ctx context.Context, owner string) error {
	return s.next().Refund(ctx, owner)
}

func (s *inTurnStore) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	return s.next().Owned(ctx, owner)
}

func (s *inTurnStore) Promote(
	ctx context.Context, queue string, max int,
) ([]string, []backend.Task, time.Duration, error) {
	return s.next().Promote(ctx, queue, max)
}

func (s *inTurnStore) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	return s.next().Promotable(ctx, queues, within)
}

func (s *inTurnStore) Now(ctx context.Context) (time.Time, error) { return s.next().Now(ctx) }

func (s *inTurnStore) Spawn(ctx context.Context, sp backend.Spawn) error {
	return s.next().Spawn(ctx, sp)
}

func (s *inTurnStore) Discard(ctx context.Context, source, batch string) error {
	return s.next().Discard(ctx, source, batch)
}

func (s *inTurnStore) Open(ctx context.Context, source string) ([]string, error) {
	return s.next().Open(ctx, source)
}

func (s *inTurnStore) Finish(ctx context.Context, source string) (bool, string, error) {
	return s.next().Finish(ctx, source)
}

func (s *inTurnStore) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	return s.next().Stop(ctx, st)
}

func (s *inTurnStore) Unfinished(ctx context.Context, age time.Duration, max int) ([]backend.Unfinished, error) {
	return s.next().Unfinished(ctx, age, max)
}

func (s *inTurnStore) Get(ctx context.Context, id string) (backend.Task, error) {
	return s.next().Get(ctx, id)
}

func (s *inTurnStore) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	return s.next().List(ctx, q)
}

func (s *inTurnStore) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	return s.next().Statuses(ctx, ids)
}

func (s *inTurnStore) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	return s.next().MarkRetried(ctx, id, from, to)
}

func (s *inTurnStore) Purge(ctx context.Context, r backend.Retention, max int) (int, error) {
	return s.next().Purge(ctx, r, max)
}

type inTurnDocs struct {
	docs [2]backend.Docs
	n    atomic.Int64
}

func (s *inTurnDocs) next() backend.Docs { return s.docs[s.n.Add(1)%2] }

func (s *inTurnDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	return s.next().Get(ctx, name)
}

func (s *inTurnDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	return s.next().PutIf(ctx, name, rev, value)
}

func (s *inTurnDocs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	return s.next().GetAll(ctx, names)
}

func (s *inTurnDocs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	return s.next().PutAll(ctx, docs)
}

func (s *inTurnDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	return s.next().List(ctx, prefix)
}

func (s *inTurnDocs) Delete(ctx context.Context, name string, rev int64) error {
	return s.next().Delete(ctx, name, rev)
}
