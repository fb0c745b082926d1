package mongo

import (
	"context"
	"crypto/rand"
	"maps"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// hintByID makes the server find named tasks by ID, whatever else the filter contains: the queue in it may be long.
var hintByID = options.UpdateMany().SetHint("_id_")

// newMark returns a unique mark.
func newMark() string { return rand.Text() }

// A change is an update of a document.
type change struct {
	set   m
	inc   m
	min   m        // lowers, or sets if absent
	push  *attempt // an attempt that has ended
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
	if u.push != nil {
		update["$push"] = m{"attempts": m{"$each": []*attempt{u.push}, "$slice": -backend.KeptAttempts}}
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

// waitUntil sets when a waiting task is due.
func (u change) waitUntil(due, now int64) change {
	u.set["due"], u.set["place"] = due, lineStateOf(due, now)
	if due > now {
		u.set["wake"] = due
	}
	return u
}

// endChange returns the change that every end of a task makes. It removes the fields that exist only while a task is
// not final, except a gate, which the process that opens it removes.
func endChange(to backend.Status, now int64) change {
	return change{
		set: m{"status": string(to), "ended": now},
		unset: []string{
			"expires", "key", "place", "unfit", "wake", "hints", "hint_due", "owner", "nonce", "stopping", "live",
		},
	}
}

// failChange is endChange with an error.
func failChange(to backend.Status, now int64, why *failure) change {
	u := endChange(to, now)
	u.set["error"] = why
	return u
}

// stopChange is the end of a task that was requested to stop. Its reason was stored by the request, or for a waiting
// task by the same write.
func stopChange(now int64) change {
	u := endChange(backend.StatusStopped, now)
	u.unset = append(u.unset, "error")
	return u
}

// requeueChange makes a running task wait.
func requeueChange(to backend.Status) change {
	return change{
		set:   m{"status": string(to), "place": ready},
		inc:   m{},
		unset: []string{"hints", "hint_due", "owner", "nonce", "stopping", "claimer"},
	}
}

// transition changes those of the tasks that match guard, and returns them as changed. It is exact under concurrency,
// since the tasks it changed carry its mark.
func (c *Client) transition(ctx context.Context, ids []string, guard m, u change) ([]*document, error) {
	mark := newMark()
	u.set["mark"] = mark
	var all []*document
	err := chunks(ids, func(part []string) error {
		filter := m{"_id": m{"$in": part}}
		maps.Copy(filter, guard)
		matched, again := int64(0), false
		err := c.withinSizeLimit(ctx, func() []string { again = true; return part }, func() error {
			r, err := c.tasks.UpdateMany(ctx, filter, u.update())
			if err == nil {
				matched = r.MatchedCount
			}
			return err
		})
		if err != nil {
			return c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if matched == 0 && !again {
			return nil
		}
		found, err := c.findHeads(ctx, m{"_id": m{"$in": part}, "mark": mark})
		all = append(all, found...)
		return err
	})
	return all, err
}

// awaitMajority returns once a majority has everything that the primary had. A primary that has lost the majority still
// returns what it alone has, and which the next one may not have. So a repeated operation that only finds its result must
// wait, and read it again from a server that is the primary afterwards. The server delays the reply even to a write that
// changes nothing.
func (c *Client) awaitMajority(ctx context.Context) error {
	_, err := c.tasks.UpdateOne(ctx, m{"_id": ""}, m{"$set": m{"mark": ""}}) // no task has this ID
	return c.wrapError(ctx, err, backend.OutcomeUnknown)
}

// failureOf returns an error as stored; nil becomes a default error.
func failureOf(given *backend.TaskError) *failure {
	if given == nil {
		return &failure{Code: string(backend.ErrAborted), Message: "the attempt failed"}
	}
	f := &failure{Code: string(given.Code), Message: given.Message}
	for _, d := range given.Details {
		f.Details = append(f.Details, detail{d.Type, d.Value})
	}
	return f
}

func (f *failure) taskError() *backend.TaskError {
	e := &backend.TaskError{Code: backend.Code(f.Code), Message: f.Message}
	for _, d := range f.Details {
		e.Details = append(e.Details, backend.ErrorDetail{Type: d.Type, Value: d.Value})
	}
	return e
}
