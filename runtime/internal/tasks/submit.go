package tasks

import (
	"context"
	"errors"
	"fmt"

	"github.com/afgen/afgen/runtime/backend"
)

// Insert stores tasks in batches and returns their ids; after an error, the ids of the tasks stored before it. It
// repeats writes with an unknown outcome, which is safe because tasks have ids. created is the number of tasks that
// this call has stored, as opposed to those that existed. It is exact for tasks whose Batch is unique to the call.
func (c *Client) Insert(ctx context.Context, tasks []backend.NewTask) (ids []string, created int, err error) {
	ids = make([]string, 0, len(tasks))
	for part := range backend.SplitInsert(tasks, MaxInsertBytes) {
		var stored []backend.Task
		insert := func(ctx context.Context) (err error) {
			stored, err = c.store.Insert(ctx, part)
			return err
		}
		if backend.TxFrom(ctx) != nil { // only the caller that began the transaction can retry it after an error
			if err = insert(ctx); err != nil {
				return nil, 0, err
			}
		} else {
			err = c.requests.Do(ctx, insert)
		}
		if err != nil {
			return ids, created, err
		}
		for i, t := range stored {
			want := &part[i].Task
			if t.ID == want.ID && t.Queue != want.Queue {
				return ids, created, backend.Errorf(backend.ErrAlreadyExists, "task %s already exists in queue %q, not %q",
					t.ID, t.Queue, want.Queue).With(backend.OutcomeNotSent)
			}
			if want.Source != "" && (t.Source != want.Source || t.Batch != want.Batch) {
				return ids, created, backend.Errorf(backend.ErrAlreadyExists,
					"task %s already exists and is not a subtask of %s in batch %q",
					t.ID, want.Source, want.Batch).With(backend.OutcomeNotSent)
			}
			if Created(&t, want) {
				created++
			}
			ids = append(ids, t.ID)
		}
	}
	return ids, created, nil
}

// Created reports whether a stored task is the one to insert, and not one that existed, given a Batch that is unique to
// the insertion. If a repeated insertion finds the task of an earlier try, that is its own.
func Created(stored, want *backend.Task) bool {
	return stored.ID == want.ID && stored.Batch == want.Batch
}

// maxRespawns is how often a batch of subtasks is inserted again because a part was discarded or belongs to another
// call.
const maxRespawns = 5

// Subtasks stores a batch of subtasks of one queue. It inserts them gated, commits the batch to the source as a
// whole, and then opens the gate. An interruption in between is either repaired by repeating the call, or the tasks
// never run. After an error nothing of the batch is committed, unless its outcome is unknown.
func (c *Client) Subtasks(ctx context.Context, s backend.Spawn, queue string,
	tasks []backend.NewTask) ([]string, error) {
	var ids []string
	var err error
	for try := 0; ; try++ {
		ids, err = c.spawn(ctx, s, tasks)
		// The sweeper may have discarded a part of the batch as abandoned.
		if backend.CodeOf(err) != backend.ErrAborted || errors.Is(err, backend.ErrStaleFence) || try == maxRespawns {
			break
		}
		if try == 0 {
			continue
		}
		// An earlier attempt inserted more tasks and died before it committed them.
		if err := c.store.Discard(ctx, s.Source, s.Batch); err != nil {
			return nil, backend.AsError(err)
		}
	}
	switch backend.CodeOf(err) {
	case backend.ErrFailedPrecondition, backend.ErrNotFound, backend.ErrResourceExhausted:
		if derr := c.store.Discard(ctx, s.Source, s.Batch); derr != nil {
			c.log.Warn("discarding refused subtasks failed, deferred to the sweeper",
				"source", s.Source, "batch", s.Batch, "error", derr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("subtasks of %s: %w", s.Source, err)
	}
	// The source may have succeeded during the commit. Then no other process opens its gate or finishes an empty batch.
	source, err := c.store.Get(ctx, s.Source)
	if err == nil && source.Status.Final() {
		c.followUpOn(ctx, source)
	}
	if s.Now || err != nil || source.Status.Final() { // otherwise the gate is shut, and a hint would cost a claim
		c.Wake(queue, ids)
	}
	return ids, nil
}

// spawn inserts a batch of subtasks and commits it.
func (c *Client) spawn(ctx context.Context, s backend.Spawn, tasks []backend.NewTask) ([]string, error) {
	ids, _, err := c.Insert(ctx, tasks)
	if err != nil {
		return nil, err
	}
	return ids, c.requests.Do(ctx, func(ctx context.Context) error { return c.store.Spawn(ctx, s) })
}

// Wake queues hints that tasks of a queue may be ready. It never blocks; the dispatcher repeats dropped hints.
func (c *Client) Wake(queue string, ids []string) {
	c.wake(queue, ids)
}

// WakeFor is Wake for tasks submitted with ctx. In a transaction of the caller it waits for the commit.
func (c *Client) WakeFor(ctx context.Context, queue string, ids []string) {
	if tx := backend.TxFrom(ctx); tx != nil {
		tx.AfterCommit(func() { c.Wake(queue, ids) })
		return
	}
	c.Wake(queue, ids)
}
