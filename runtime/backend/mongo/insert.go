package mongo

import (
	"context"
	"errors"
	"slices"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// Insert implements backend.Store. It is one insert, which concurrent calls share (group.go), and one or two more reads
// if some tasks exist.
func (s *store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if err := backend.ValidateInsert(tasks); err != nil {
		return nil, err
	}
	session, err := s.txSession(ctx, tasks)
	if err != nil {
		return nil, err
	}
	whole := ctx
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil || len(tasks) == 0 {
		return nil, err
	}
	sources, err := s.sourcesOf(ctx, tasks)
	if err != nil {
		return nil, err
	}
	fresh := make([]*document, len(tasks))
	created := s.clock.timestamps(len(tasks))
	now := s.clock.now()
	for i := range tasks {
		fresh[i] = newDocument(&tasks[i], created+int64(i), now)
		if source := sources[tasks[i].Task.Source]; tasks[i].Gated && source != nil {
			fresh[i].Generation, fresh[i].Kin.Of = source.Discards, source.Created
		}
	}
	if session != nil {
		stored, err := s.insertInTx(whole, fresh)
		return headsOf(stored), err
	}
	write := insertFunc(s.insertMany)
	if shareable(whole, tasks) {
		write = s.insertInGroup
	}
	stored, err := s.insert(ctx, fresh, write)
	return headsOf(stored), err
}

// newDocument returns the document of a new task (row 1).
func newDocument(n *backend.NewTask, created, now int64) *document {
	t := &n.Task
	x := &document{
		ID: t.ID, Queue: t.Queue, Status: string(t.Status), Weight: t.Weight, Payload: t.Payload, Fingerprint: t.Fingerprint,
		Batch: t.Batch, OnFailure: string(t.OnFailure), DoneOf: t.DoneOf, RetryOf: t.RetryOf, UniqueKey: t.UniqueKey,
		Timeout: int64(t.Timeout), Retries: t.Retries, Trace: t.Trace, Metadata: t.Metadata, Allow: t.Allow, Created: created, Deadline: instant.Of(t.Deadline),
		TopLevel: t.Source == "" && (t.DoneOf == "" || t.RetryOf != ""), // a retry of SubtasksDone belongs to no source
	}
	switch {
	case n.Delay != 0:
		x.Due = instant.Add(now, n.Delay)
	case t.RunAt.IsZero():
		x.Due = now
	default:
		x.Due = instant.Of(t.RunAt)
	}
	if x.Due > now {
		x.WakeAt = x.Due
	}
	if x.Deadline != 0 {
		x.Expiry = &expiry{x.Queue, x.Deadline}
	}
	if x.UniqueKey != "" {
		x.Key = uniqueKeyOf(x.Queue, x.UniqueKey)
	}
	if !n.Gated {
		x.LineState = lineStateOf(x.Due, now)
		return x
	}
	x.Kin, x.Held = &kin{Source: t.Source, Created: created}, heldKey(t.Source, t.Batch)
	if t.OnFailure == backend.FailFast {
		x.FailFast = t.Source
	}
	return x
}

func lineStateOf(due, now int64) int {
	if due > now {
		return delayed
	}
	return ready
}

// An insertFunc inserts documents, and returns the indexes of those that conflict with existing ones. After an error
// any subset may be stored.
type insertFunc func(ctx context.Context, list []*document) (refused []int, err error)

// insert inserts documents with write. For each, it returns the document stored under its ID or unique key.
func (c *Client) insert(ctx context.Context, fresh []*document, write insertFunc) ([]*document, error) {
	stored := slices.Clone(fresh)
	remaining := make([]int, len(fresh))
	for i := range remaining {
		remaining[i] = i
	}
	for len(remaining) > 0 {
		list := make([]*document, len(remaining))
		for k, i := range remaining {
			list[k] = fresh[i]
		}
		refused, err := write(ctx, list)
		if err != nil || len(refused) == 0 {
			return stored, err
		}
		for k := range refused {
			refused[k] = remaining[refused[k]]
		}
		existing, err := c.findExisting(ctx, fresh, refused)
		if err != nil {
			return nil, err
		}
		// The conflicting document may be gone by now: a key was released, or a batch discarded.
		remaining = remaining[:0]
		for _, i := range refused {
			if existing[i] == nil {
				remaining = append(remaining, i)
			} else {
				stored[i] = existing[i]
			}
		}
	}
	return stored, nil
}

// insertMany inserts documents with a command of its own. It is an insertFunc.
func (c *Client) insertMany(ctx context.Context, list []*document) (refused []int, err error) {
	_, err = c.tasks.InsertMany(ctx, list, options.InsertMany().SetOrdered(false))
	if err == nil {
		return nil, nil
	}
	bulk, ok := errors.AsType[driver.BulkWriteException](err)
	if !ok || bulk.WriteConcernError != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	for _, e := range bulk.WriteErrors {
		if e.Code != duplicateKey {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		refused = append(refused, e.Index)
	}
	return refused, nil
}

// findExisting returns the documents that conflict with refused ones, by ID or by unique key. An uncommitted subtask
// that was inserted before moves to the current source and generation, so that no concurrent Discard deletes it.
func (c *Client) findExisting(ctx context.Context, fresh []*document, refused []int) (map[int]*document, error) {
	var ids, keys []string
	type origin struct{ of, generation int64 }
	held := map[origin][]string{}
	batches := map[string]bool{}
	for _, i := range refused {
		ids = append(ids, fresh[i].ID)
		if fresh[i].Held != "" {
			batches[fresh[i].Held] = true
		}
		if fresh[i].Key != "" {
			keys = append(keys, fresh[i].Key)
		}
		if fresh[i].Held != "" && fresh[i].Kin != nil && fresh[i].Kin.Of > 0 {
			o := origin{fresh[i].Kin.Of, fresh[i].Generation}
			held[o] = append(held[o], fresh[i].ID)
		}
	}
	for o, ids := range held {
		current := m{"kin.of": o.of}
		if o.generation > 0 {
			current["generation"] = o.generation
		}
		_, err := c.tasks.UpdateMany(ctx, m{"_id": m{"$in": ids}, "held": m{"$exists": true}}, m{"$max": current})
		if err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
	}
	for held := range batches { // the age of a batch is that of its last insert
		_, err := c.tasks.UpdateOne(ctx, m{"held": held}, m{"$max": m{"renewed": c.clock.now()}})
		if err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
	}
	byID, byKey := map[string]*document{}, map[string]*document{}
	for field, values := range map[string][]string{"_id": ids, "key": keys} {
		err := chunks(values, func(part []string) error {
			found, err := c.findHeads(ctx, m{field: m{"$in": part}})
			for _, x := range found {
				if field == "_id" {
					byID[x.ID] = x
				} else {
					byKey[x.Key] = x
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	existing := map[int]*document{}
	for _, i := range refused {
		if x := byID[fresh[i].ID]; x != nil {
			existing[i] = x
		} else if x := byKey[fresh[i].Key]; x != nil && fresh[i].Key != "" {
			existing[i] = x
		}
	}
	return existing, nil
}

const duplicateKey = 11000

// sourcesOf returns the existing sources of new subtasks, with the number of discards so far. It clears the discarded
// mark of the batches being inserted.
func (c *Client) sourcesOf(ctx context.Context, tasks []backend.NewTask) (map[string]*document, error) {
	batches := map[string][]string{}
	for i := range tasks {
		if t := &tasks[i].Task; tasks[i].Gated && !slices.Contains(batches[t.Source], t.Batch) {
			batches[t.Source] = append(batches[t.Source], t.Batch)
		}
	}
	known := make(map[string]*document, len(batches))
	for source, names := range batches {
		x, err := c.findOne(ctx, source)
		if err != nil {
			return nil, err
		}
		if x == nil {
			continue
		}
		if slices.ContainsFunc(x.Discarded, func(b string) bool { return slices.Contains(names, b) }) {
			if _, err := c.tasks.UpdateOne(ctx, x.same(), m{"$pull": m{"discarded": m{"$in": names}}}); err != nil {
				return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
			}
			// Read again: later discards don't affect these inserts.
			if x, err = c.findOne(ctx, source); err != nil {
				return nil, err
			}
		}
		if x != nil {
			known[source] = x
		}
	}
	return known, nil
}
