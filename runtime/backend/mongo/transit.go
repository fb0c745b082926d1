package mongo

import (
	"context"
	"crypto/rand"
	"maps"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// lookByID makes the server look for named tasks by their ids, whatever else the filter says: the queue that it names, too, may
// be long.
var lookByID = options.UpdateMany().SetHint("_id_")

// newMark returns a mark that no other write has.
func newMark() string { return rand.Text() }

// change sets, raises and removes fields.
type change struct {
	set   m
	inc   m
	min   m // lowers, or sets what is not there
	unset []string
}

func (u change) update() m {
	update := m{}
	if len(u.set) > 0 {
		update["$set"] = u.set
	}
	if len(u.inc) > 0 {
		update["$inc"] = u.inc
	}
	if len(u.min) > 0 {
		update["$min"] = u.min
	}
	if len(u.unset) > 0 {
		gone := m{}
		for _, field := range u.unset {
			gone[field] = ""
		}
		update["$unset"] = gone
	}
	return update
}

// waitUntil notes when a task that waits is due.
func (u change) waitUntil(due, now int64) change {
	u.set["due"], u.set["place"] = due, placeOf(due, now)
	if due > now {
		u.set["wake"] = due
	}
	return u
}

// ends is what every end of a task's own run writes: the fields that are there only while it lives are removed, except
// that a shut gate is left to whoever opens it.
func ends(to backend.Status, now int64) change {
	return change{
		set: m{"status": string(to), "ended": now},
		unset: []string{
			"expires", "key", "place", "unfit", "wake", "hints", "hint_due", "owner", "nonce", "stopping", "live",
		},
	}
}

// fails is ends with an error.
func fails(to backend.Status, now int64, why *failure) change {
	u := ends(to, now)
	u.set["error"] = why
	return u
}

// stops is how a task ends that was to stop: why stands in its reason, which a task that waits gets by the same write.
func stops(now int64) change {
	u := ends(backend.StatusStopped, now)
	u.unset = append(u.unset, "error")
	return u
}

// waitsAgain is what lets a task that ran wait.
func waitsAgain(to backend.Status) change {
	return change{
		set:   m{"status": string(to), "place": inLine},
		inc:   m{},
		unset: []string{"hints", "hint_due", "owner", "nonce", "stopping"},
	}
}

// transit changes those of the tasks that meet a guard, and returns them as they are then. It is exact where others do the
// same: what this call has changed bears its mark.
func (c *Client) transit(ctx context.Context, ids []string, guard m, u change) ([]*document, error) {
	mark := newMark()
	u.set["mark"] = mark
	var all []*document
	err := chunks(ids, func(part []string) error {
		filter := m{"_id": m{"$in": part}}
		maps.Copy(filter, guard)
		matched, again := int64(0), false
		err := c.withRoom(ctx, func() []string { again = true; return part }, func() error {
			r, err := c.tasks.UpdateMany(ctx, filter, u.update())
			if err == nil {
				matched = r.MatchedCount
			}
			return err
		})
		if err != nil {
			return c.failed(ctx, err, backend.OutcomeUnknown)
		}
		if matched == 0 && !again {
			return nil
		}
		found, err := c.heads(ctx, m{"_id": m{"$in": part}, "mark": mark})
		all = append(all, found...)
		return err
	})
	return all, err
}

// failureOf is how an error is stored; nil has a failure of its own.
func failureOf(given *backend.TaskError) *failure {
	if given != nil {
		return &failure{string(given.Code), given.Message}
	}
	return &failure{string(backend.ErrAborted), "the attempt failed"}
}
