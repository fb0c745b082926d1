package mongo

import (
	"context"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// same matches a task as it was read: another process may have deleted it since, and its ID may be in use again.
func (x *document) same() m { return m{"_id": x.ID, "created": x.Created} }

// createdOf returns when tasks were created. A later task with the ID of one is younger than all that were read before.
func createdOf(tasks []*document) []int64 {
	created := make([]int64, len(tasks))
	for i, x := range tasks {
		created[i] = x.Created
	}
	return created
}

// purgeAlone deletes up to max tasks: those that match a guard and have no committed subtasks, and the uncommitted
// subtasks below them. A source that gets subtasks meanwhile is kept.
func (c *Client) purgeAlone(
	ctx context.Context, tasks []*document, guard m, before int64, max int,
) (n int, err error) {
	type source struct {
		ID string `bson:"_id"`
	}
	above, err := groupBy[source](ctx, c, m{"kin.source": m{"$in": idsOf(tasks)}}, "$kin.source", nil)
	if err != nil {
		return 0, err
	}
	for _, s := range above {
		if n >= max {
			return n, nil
		}
		x := tasks[slices.IndexFunc(tasks, func(x *document) bool { return x.ID == s.ID })]
		tasks = slices.DeleteFunc(slices.Clone(tasks), func(other *document) bool { return other == x })
		own := x.same()
		own["spawn_rev"] = m{"$exists": false}
		maps.Copy(own, guard)
		r, err := c.tasks.UpdateOne(ctx, own, m{"$set": m{"purging": true}}) // so that it accepts no subtasks
		if err != nil {
			return n, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount == 0 {
			continue
		}
		deleted, err := c.purgeTree(ctx, x, before, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	if tasks = tasks[:min(len(tasks), max-n)]; len(tasks) == 0 {
		return n, nil
	}
	alone := m{"_id": m{"$in": idsOf(tasks)}, "created": m{"$in": createdOf(tasks)}, "spawn_rev": m{"$exists": false}}
	maps.Copy(alone, guard)
	deleted, err := c.remove(ctx, alone)
	return n + deleted, err
}

// purgeSource deletes up to max tasks of a tree if all of it has ended.
func (c *Client) purgeSource(ctx context.Context, source *document, before int64, max int) (int, error) {
	if !source.Purging {
		over, err := c.treeEnded(ctx, source, before)
		if err != nil || !over {
			return 0, err
		}
		// The check is not needed again, however many calls the deletion takes: the set is finished and accepts no more
		// subtasks.
		r, err := c.tasks.UpdateOne(ctx, source.same(), m{"$set": m{"purging": true}})
		if err != nil {
			return 0, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount == 0 {
			return 0, nil
		}
	}
	return c.purgeTree(ctx, source, before, max)
}

// treeEnded reports whether a tree has no live tasks and no unfinished sets, and all of it ended before an instant.
func (c *Client) treeEnded(ctx context.Context, source *document, before int64) (bool, error) {
	for level := []string{source.ID}; len(level) > 0; {
		var next []string
		err := chunks(level, func(part []string) error {
			for _, below := range []m{
				{"kin.source": m{"$in": part}, "held": m{"$exists": false}},
				{"_id": m{"$in": doneIDs(part)}, "done_of": m{"$exists": true}},
			} {
				found, err := c.find(ctx, below, options.Find().SetProjection(treeFields))
				if err != nil {
					return err
				}
				for _, x := range found {
					if !x.ended(before) {
						return errTreeLive
					}
					if x.SpawnRev > 0 {
						next = append(next, x.ID)
					}
				}
			}
			return nil
		})
		if err == errTreeLive {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		level = next
	}
	return true, nil
}

// treeFields are the fields that decide whether a task of a tree may be deleted.
var treeFields = m{"status": 1, "created": 1, "ended": 1, "open_set": 1, "spawn_rev": 1, "purging": 1}

// ended reports whether a task ended before an instant and has no unfinished set.
func (x *document) ended(before int64) bool {
	return isFinal(x.Status) && !x.OpenSet && x.Ended < before
}

var errTreeLive = backend.NewError(backend.ErrFailedPrecondition, "the tree has live tasks")

// purgeTree deletes up to max tasks of a tree that has ended, leaves first, the source last. A subtask may have got its
// first subtasks since the check. It and its sources are kept until these have ended too. Another process may delete the
// tree at the same time. So what is found below the source is of this tree only if the source still exists afterwards.
func (c *Client) purgeTree(ctx context.Context, source *document, before int64, max int) (n int, err error) {
	for n < max {
		kin, err := c.find(ctx, m{"kin.source": source.ID},
			options.Find().SetLimit(int64(min(max-n, chunk))).SetProjection(treeFields))
		if err != nil {
			return n, err
		}
		if len(kin) == 0 {
			break
		}
		if there, err := c.exists(ctx, source.same()); err != nil || !there {
			return n, err
		}
		var leaves []*document
		progress := n
		for _, x := range kin {
			if x.SpawnRev == 0 {
				leaves = append(leaves, x)
				continue
			}
			if !x.Purging && !x.ended(before) {
				continue
			}
			deleted, err := c.purgeSource(ctx, x, before, max-n)
			if n += deleted; err != nil || n >= max {
				return n, err
			}
		}
		if len(leaves) > 0 {
			deleted, err := c.purgeAlone(ctx, leaves, nil, before, max-n)
			if n += deleted; err != nil {
				return n, err
			}
		}
		if n == progress { // the rest has live tasks
			return n, nil
		}
	}
	if n >= max {
		return n, nil
	}
	deleted, left, err := c.purgeDone(ctx, source, before, max-n)
	if n += deleted; err != nil || left || n >= max {
		return n, err
	}
	deleted, err = c.remove(ctx, source.same())
	return n + deleted, err
}

// purgeDone deletes up to max tasks: the task that runs the SubtasksDone of a source, after the tree below it. It
// reports whether some of them are left.
func (c *Client) purgeDone(
	ctx context.Context, source *document, before int64, max int,
) (n int, left bool, err error) {
	filter := m{"_id": doneID(source.ID), "done_of": source.ID}
	found, err := c.find(ctx, filter, options.Find().SetProjection(treeFields))
	if err != nil || len(found) == 0 {
		return 0, false, err
	}
	if there, err := c.exists(ctx, source.same()); err != nil || !there {
		return 0, true, err
	}
	switch x := found[0]; {
	case x.SpawnRev == 0:
		n, err = c.purgeAlone(ctx, found, nil, before, max)
	case x.Purging || x.ended(before):
		n, err = c.purgeSource(ctx, x, before, max)
	}
	if err != nil {
		return n, true, err
	}
	left, err = c.exists(ctx, filter)
	return n, left, err
}

// remove deletes matching tasks. The filter names their IDs.
func (c *Client) remove(ctx context.Context, filter m) (int, error) {
	r, err := c.tasks.DeleteMany(ctx, filter, options.DeleteMany().SetHint("_id_"))
	if err != nil {
		return 0, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	return int(r.DeletedCount), nil
}
