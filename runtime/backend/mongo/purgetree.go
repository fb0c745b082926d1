package mongo

import (
	"context"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// purgeAlone deletes up to max tasks: those of ids that match a guard and have no committed subtasks, and the
// uncommitted subtasks below them. A source that gets subtasks meanwhile is kept.
func (c *Client) purgeAlone(ctx context.Context, ids []string, guard m, before int64, max int) (n int, err error) {
	type source struct {
		ID string `bson:"_id"`
	}
	above, err := groupBy[source](ctx, c, m{"kin.source": m{"$in": ids}}, "$kin.source", nil)
	if err != nil {
		return 0, err
	}
	for _, x := range above {
		if n >= max {
			return n, nil
		}
		ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == x.ID })
		own := m{"_id": x.ID, "spawn_rev": m{"$exists": false}}
		maps.Copy(own, guard)
		r, err := c.tasks.UpdateOne(ctx, own, m{"$set": m{"purging": true}}) // so that it accepts no subtasks
		if err != nil {
			return n, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount == 0 {
			continue
		}
		deleted, err := c.purgeTree(ctx, &document{ID: x.ID}, before, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	if ids = ids[:min(len(ids), max-n)]; len(ids) == 0 {
		return n, nil
	}
	alone := m{"_id": m{"$in": ids}, "spawn_rev": m{"$exists": false}}
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
		if _, err := c.tasks.UpdateOne(ctx, m{"_id": source.ID}, m{"$set": m{"purging": true}}); err != nil {
			return 0, c.wrapError(ctx, err, backend.OutcomeUnknown)
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
var treeFields = m{"status": 1, "ended": 1, "open_set": 1, "spawn_rev": 1, "purging": 1}

// ended reports whether a task ended before an instant and has no unfinished set.
func (x *document) ended(before int64) bool {
	return isFinal(x.Status) && !x.OpenSet && x.Ended < before
}

var errTreeLive = backend.NewError(backend.ErrFailedPrecondition, "the tree has live tasks")

// purgeTree deletes up to max tasks of a tree that has ended, leaves first, the source last. A subtask may have got its
// first subtasks since the check. It and its sources are kept until these have ended too.
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
		var leaves []string
		progress := n
		for _, x := range kin {
			if x.SpawnRev == 0 {
				leaves = append(leaves, x.ID)
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
	deleted, left, err := c.purgeDone(ctx, source.ID, before, max-n)
	if n += deleted; err != nil || left || n >= max {
		return n, err
	}
	deleted, err = c.remove(ctx, m{"_id": source.ID})
	return n + deleted, err
}

// purgeDone deletes up to max tasks: the task that runs the SubtasksDone of a source, after the tree below it. It
// reports whether some of them are left.
func (c *Client) purgeDone(ctx context.Context, source string, before int64, max int) (n int, left bool, err error) {
	filter := m{"_id": doneID(source), "done_of": source}
	found, err := c.find(ctx, filter, options.Find().SetProjection(treeFields))
	if err != nil || len(found) == 0 {
		return 0, false, err
	}
	switch x := found[0]; {
	case x.SpawnRev == 0:
		n, err = c.purgeAlone(ctx, []string{x.ID}, nil, before, max)
	case x.Purging || x.ended(before):
		n, err = c.purgeSource(ctx, x, before, max)
	}
	if err != nil {
		return n, true, err
	}
	left, err = c.exists(ctx, filter)
	return n, left, err
}

func (c *Client) remove(ctx context.Context, filter m) (int, error) {
	r, err := c.tasks.DeleteMany(ctx, filter)
	if err != nil {
		return 0, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	return int(r.DeletedCount), nil
}
