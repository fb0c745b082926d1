package timing

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// newStore returns a Store whose requests are observed.
func newStore(s backend.Store, o observer) backend.Store {
	timed := store{s, o}
	if w, ok := s.(backend.ProcessWatcher); ok {
		return watchingStore{timed, watcher{w, o}}
	}
	return timed
}

// store observes every method of a Store. It embeds the Store, and a test finds methods that are not observed.
type store struct {
	backend.Store
	observer
}

// watchingStore is a store that is a ProcessWatcher.
type watchingStore struct {
	store
	watcher
}

type watcher struct {
	watcher backend.ProcessWatcher
	to      observer
}

func (w watcher) Dead(ctx context.Context, owners []string) ([]string, error) {
	begun := time.Now()
	dead, err := w.watcher.Dead(ctx, owners)
	w.to.ended("dead", begun, err)
	return dead, err
}

func (w watcher) Deaths() <-chan struct{} { return w.watcher.Deaths() }

func (s store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	begun := time.Now()
	stored, err := s.Store.Insert(ctx, tasks)
	s.ended("insert", begun, err)
	return stored, err
}

func (s store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	begun := time.Now()
	tasks, next, err := s.Store.Claim(ctx, c)
	s.ended("claim", begun, err)
	return tasks, next, err
}

func (s store) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	begun := time.Now()
	settled, err := s.Store.Settle(ctx, settles)
	s.ended("settle", begun, err)
	return settled, err
}

func (s store) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	begun := time.Now()
	by, err := s.Store.MarkRetried(ctx, id, from, to)
	s.ended("mark_retried", begun, err)
	return by, err
}

func (s store) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	begun := time.Now()
	err := s.Store.Progress(ctx, id, fence, progress)
	s.ended("progress", begun, err)
	return err
}

func (s store) Beat(ctx context.Context, owner string, count int64) error {
	begun := time.Now()
	err := s.Store.Beat(ctx, owner, count)
	s.ended("beat", begun, err)
	return err
}

func (s store) Drain(ctx context.Context, owner string) error {
	begun := time.Now()
	err := s.Store.Drain(ctx, owner)
	s.ended("drain", begun, err)
	return err
}

func (s store) Owners(ctx context.Context) (map[string]backend.Heartbeat, error) {
	begun := time.Now()
	owners, err := s.Store.Owners(ctx)
	s.ended("owners", begun, err)
	return owners, err
}

func (s store) ExpireOwner(
	ctx context.Context, owner string, count int64, maxCrashes int,
) ([]backend.Task, error) {
	begun := time.Now()
	tasks, err := s.Store.ExpireOwner(ctx, owner, count, maxCrashes)
	s.ended("expire_owner", begun, err)
	return tasks, err
}

func (s store) Refund(ctx context.Context, owner string) error {
	begun := time.Now()
	err := s.Store.Refund(ctx, owner)
	s.ended("refund", begun, err)
	return err
}

func (s store) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	begun := time.Now()
	owned, err := s.Store.Owned(ctx, owner)
	s.ended("owned", begun, err)
	return owned, err
}

func (s store) Promote(
	ctx context.Context, queue string, max int,
) (ids []string, failed []backend.Task, next time.Duration, err error) {
	begun := time.Now()
	ids, failed, next, err = s.Store.Promote(ctx, queue, max)
	s.ended("promote", begun, err)
	return ids, failed, next, err
}

func (s store) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	begun := time.Now()
	some, err := s.Store.Promotable(ctx, queues, within)
	s.ended("promotable", begun, err)
	return some, err
}

func (s store) Spawn(ctx context.Context, sp backend.Spawn) error {
	begun := time.Now()
	err := s.Store.Spawn(ctx, sp)
	s.ended("spawn", begun, err)
	return err
}

func (s store) Discard(ctx context.Context, source, batch string) error {
	begun := time.Now()
	err := s.Store.Discard(ctx, source, batch)
	s.ended("discard", begun, err)
	return err
}

func (s store) Open(ctx context.Context, source string) ([]string, error) {
	begun := time.Now()
	queues, err := s.Store.Open(ctx, source)
	s.ended("open", begun, err)
	return queues, err
}

func (s store) Finish(ctx context.Context, source string) (bool, string, error) {
	begun := time.Now()
	finished, queue, err := s.Store.Finish(ctx, source)
	s.ended("finish", begun, err)
	return finished, queue, err
}

func (s store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	begun := time.Now()
	tasks, err := s.Store.Stop(ctx, st)
	s.ended("stop", begun, err)
	return tasks, err
}

func (s store) Unfinished(ctx context.Context, age time.Duration, max int) ([]backend.Unfinished, error) {
	begun := time.Now()
	work, err := s.Store.Unfinished(ctx, age, max)
	s.ended("unfinished", begun, err)
	return work, err
}

func (s store) Now(ctx context.Context) (time.Time, error) {
	begun := time.Now()
	now, err := s.Store.Now(ctx)
	s.ended("now", begun, err)
	return now, err
}

func (s store) Get(ctx context.Context, id string) (backend.Task, error) {
	begun := time.Now()
	t, err := s.Store.Get(ctx, id)
	s.ended("get", begun, err)
	return t, err
}

func (s store) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	begun := time.Now()
	statuses, err := s.Store.Statuses(ctx, ids)
	s.ended("statuses", begun, err)
	return statuses, err
}

func (s store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	begun := time.Now()
	page, err := s.Store.List(ctx, q)
	s.ended("list", begun, err)
	return page, err
}

func (s store) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	begun := time.Now()
	queues, err := s.Store.Queues(ctx)
	s.ended("queues", begun, err)
	return queues, err
}

func (s store) Ahead(ctx context.Context, id string) (backend.Count, error) {
	begun := time.Now()
	n, err := s.Store.Ahead(ctx, id)
	s.ended("ahead", begun, err)
	return n, err
}

func (s store) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	begun := time.Now()
	t, err := s.Store.Adjust(ctx, a)
	s.ended("adjust", begun, err)
	return t, err
}

func (s store) Delete(ctx context.Context, id string) error {
	begun := time.Now()
	err := s.Store.Delete(ctx, id)
	s.ended("delete", begun, err)
	return err
}

func (s store) Purge(ctx context.Context, r backend.Retention, max int) (int, error) {
	begun := time.Now()
	n, err := s.Store.Purge(ctx, r, max)
	s.ended("purge", begun, err)
	return n, err
}
