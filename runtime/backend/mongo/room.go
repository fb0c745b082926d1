package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// keptProgress is how many bytes of progress a task keeps whose document is full. The runtime bounds progress by as much; older
// programs did not.
const keptProgress = 64 << 10

// withRoom does an update of tasks. If a document would grow beyond what the server takes, the progress that fills it is
// dropped and the update done again: one such document would else keep every update that names it, and so many others, from
// going through. do is repeatable.
func (c *Client) withRoom(ctx context.Context, ids func() []string, do func() error) error {
	err := do()
	if err == nil || !hasCode(err, objectTooLarge, objectTooLargeToo) {
		return err
	}
	made, roomErr := c.makeRoom(ctx, ids())
	if roomErr != nil || !made {
		return err
	}
	return do()
}

// makeRoom drops the progress of those of the tasks whose progress is too large, and reports whether there was one. It looks at
// them one by one, since they are large.
func (c *Client) makeRoom(ctx context.Context, ids []string) (made bool, err error) {
	for _, id := range ids {
		found, err := c.find(ctx, m{"_id": id, "progress": m{"$exists": true}}, options.Find().SetProjection(m{"progress": 1}))
		if err != nil {
			return made, err
		}
		if len(found) == 0 || len(found[0].Progress) <= keptProgress {
			continue
		}
		if _, err := c.tasks.UpdateOne(ctx, m{"_id": id}, m{"$unset": m{"progress": ""}}); err != nil {
			return made, c.failed(ctx, err, backend.OutcomeUnknown)
		}
		c.config.Logger.Warn("the progress of a task was dropped: its document is full", "task", id, "bytes", len(found[0].Progress))
		made = true
	}
	return made, nil
}
