package mongo

import (
	"cmp"
	"context"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// maxOverdue is of how many due tasks of a queue that no dispatcher has found yet counts take notice.
const maxOverdue = 1000

// readyIn returns the filter for the ready tasks of a queue, except for overdue ones.
func readyIn(queue string, now int64) m {
	return m{"queue": queue, "place": ready, "expires.at": m{"$not": m{"$lte": now}}}
}

// overdue returns ready tasks that are due and still stored as delayed, because no dispatcher has found them yet. There
// are many only if no worker of the queue runs.
func (s *store) overdue(ctx context.Context, queue string, now int64) ([]*document, error) {
	return s.find(ctx, m{
		"queue": queue, "place": delayed, "wake": m{"$gt": 0}, "due": m{"$lte": now},
		"expires.at": m{"$not": m{"$lte": now}},
	}, options.Find().SetSort(d{asc("due")}).SetLimit(maxOverdue).SetHint("delayed").
		SetProjection(m{"weight": 1, "created": 1, "due": 1}))
}

// olderFirst compares tasks of the same weight.
func olderFirst(a, b *document) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.ID, b.ID))
}

// Ahead implements backend.Store.
func (s *store) Ahead(ctx context.Context, id string) (backend.Count, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return backend.Count{}, err
	}
	x, err := s.findOne(ctx, id)
	if err != nil {
		return backend.Count{}, err
	}
	if x == nil {
		return backend.Count{}, noTask(id)
	}
	now := s.clock.now()
	overdue, err := s.overdue(ctx, x.Queue, now)
	if err != nil {
		return backend.Count{}, err
	}
	n := 0
	for _, other := range overdue {
		if other.ID != x.ID && bestFirst(other, x) < 0 {
			n++
		}
	}
	for _, beyond := range []m{
		{"weight": m{"$gt": x.Weight}},
		{"weight": x.Weight, "created": m{"$lt": x.Created}},
		{"weight": x.Weight, "created": x.Created, "_id": m{"$lt": x.ID}},
	} {
		filter := readyIn(x.Queue, now)
		for field, condition := range beyond {
			filter[field] = condition
		}
		more, err := s.tasks.countUpTo(ctx, filter, backend.MaxTotal+1, "waiting")
		if err != nil {
			return backend.Count{}, s.wrapError(ctx, err, backend.OutcomeNotSent)
		}
		n += more
	}
	total, more := backend.BoundedTotal(n)
	return backend.Count{N: total, AtLeast: more}, nil
}

// Adjust implements backend.Store. It reads the task, and changes it unless it was claimed or has ended since.
func (s *store) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return backend.Task{}, err
	}
	for {
		x, err := s.findOne(ctx, a.ID)
		switch {
		case err != nil:
			return backend.Task{}, err
		case x == nil:
			return backend.Task{}, noTask(a.ID)
		case isFinal(x.Status), a.Now && x.Status == string(backend.StatusRunning):
			return backend.Task{}, a.ErrorRefused(backend.Status(x.Status))
		case a.Now && (x.Held != "" || x.Gated != ""):
			return backend.Task{}, a.ErrorGated()
		}
		u := change{set: m{}}
		if a.Weight != nil {
			u.set["weight"] = *a.Weight
		}
		if now := s.clock.now(); a.Now && x.Due > now {
			u.set["due"], u.set["place"] = now, ready
			u.unset = []string{"wake", "hints", "hint_due"}
		}
		if len(u.set) == 0 {
			t := x.task()
			return t.Head(), nil
		}
		guard := m{"_id": x.ID, "status": x.Status, "fence": x.Fence, "due": x.Due, "place": x.LineState}
		if x.LineState == 0 {
			guard["place"] = nil
		}
		after, changed := new(document), false
		err = s.withinSizeLimit(ctx, func() []string { return []string{x.ID} }, func() (err error) {
			changed, err = s.tasks.findAndUpdate(ctx, guard, u.update(), after)
			return err
		})
		if err != nil {
			return backend.Task{}, s.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if changed {
			t := after.task()
			return t.Head(), nil
		}
		if ctx.Err() != nil {
			return backend.Task{}, notStarted(ctx)
		}
	}
}

// deleteChunk is how many tasks of a tree Delete deletes at a time.
const deleteChunk = 10_000

// Delete implements backend.Store.
func (s *store) Delete(ctx context.Context, id string) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	for {
		x, err := s.findOne(ctx, id)
		switch {
		case err != nil || x == nil:
			return err
		case x.Kin != nil || x.Held != "" || x.DoneOf != "" && x.RetryOf == "":
			return backend.ErrorNotDeletable(id, backend.PartOfTree)
		case !isFinal(x.Status):
			return backend.ErrorNotDeletable(id, backend.NotEnded)
		case x.OpenSet:
			return backend.ErrorNotDeletable(id, backend.TreeNotEnded)
		case x.SpawnRev == 0:
			ended := m{"status": m{"$in": finalStatuses}}
			if _, err := s.purgeAlone(ctx, []*document{x}, ended, always, deleteChunk); err != nil {
				return err
			}
			continue // until it is gone, or has got subtasks
		}
		n, err := s.purgeSource(ctx, x, always, deleteChunk)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		ended, err := s.treeEnded(ctx, x, always)
		if err != nil {
			return err
		}
		if left, err := s.exists(ctx, m{"_id": id}); err != nil || left && !ended {
			return cmp.Or(err, backend.ErrorNotDeletable(id, backend.TreeNotEnded))
		}
	}
}
