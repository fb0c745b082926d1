package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// maxKeptProgress is how much progress is kept in a task whose document is full. The runtime has the same limit; older
// programs had none.
const maxKeptProgress = 64 << 10

// withinSizeLimit runs an update of tasks. If a document would exceed the server's size limit, its progress is dropped
// and the update repeated. Otherwise one such document would block every update that includes it. do must be
// repeatable.
func (c *Client) withinSizeLimit(ctx context.Context, ids func() []string, do func() error) error {
	err := do()
	if err == nil || !hasCode(err, objectTooLarge, objectTooLargeToo) {
		return err
	}
	dropped, dropErr := c.dropProgress(ctx, ids())
	if dropErr != nil || !dropped {
		return err
	}
	return do()
}

// dropProgress drops the progress of tasks where it is too large, and reports whether there was one. It reads them one
// by one, since they are large.
func (c *Client) dropProgress(ctx context.Context, ids []string) (dropped bool, err error) {
	for _, id := range ids {
		found, err := c.find(ctx, m{"_id": id, "progress": m{"$exists": true}}, options.Find().
			SetProjection(m{"progress": 1}))
		if err != nil {
			return dropped, err
		}
		if len(found) == 0 || len(found[0].Progress) <= maxKeptProgress {
			continue
		}
		if _, err := c.tasks.UpdateOne(ctx, m{"_id": id}, m{"$unset": m{"progress": "", "progressed": ""}}); err != nil {
			return dropped, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		c.config.Logger.Warn("dropped a task's progress: its document is full", "task", id, "bytes", len(found[0].Progress))
		dropped = true
	}
	return dropped, nil
}
