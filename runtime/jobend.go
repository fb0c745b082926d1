package runtime

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// removeJob removes a job, if mayGo says so of it as it is now.
func (e *engine) removeJob(ctx context.Context, id string, mayGo func(*jobDoc) bool) error {
	for range maxTries {
		j, err := e.readJob(ctx, id)
		if CodeOf(err) == ErrNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if !mayGo(j) {
			return nil
		}
		if len(j.Pending)+len(j.Dropped) > 0 { // a scheduler may be about to submit these
			if err := e.disableJob(ctx, id); err != nil && CodeOf(err) != ErrNotFound {
				return err
			}
			continue
		}
		err = e.ports.Docs.Delete(ctx, jobDocs+id, j.revision)
		switch CodeOf(err) {
		case ErrAborted, ErrUnavailable:
			if !retry.Sleep(ctx, retry.Jitter(retry.Base)) {
				return backend.AsError(err)
			}
			continue
		}
		if err != nil {
			return backend.AsError(err)
		}
		e.dropHistory(ctx, id)
		e.sched.look(id)
		e.bus.Publish(topicJobs, []string{id})
		return nil
	}
	return Errorf(ErrUnavailable, "job %q: others change it all the time, or the store is away", id)
}

// disableJob disables a job, and ensures that nothing that was decided before is submitted after it has returned.
func (e *engine) disableJob(ctx context.Context, id string) error {
	var dropped []firing
	err := e.changeJob(ctx, id, func(j *jobDoc, _ time.Time) bool {
		changes := !j.Disabled || len(j.Pending) > 0
		j.Disabled = true
		first := true
		for _, f := range j.Pending {
			switch {
			case f.Skip != "": // to be noted
			case first:
				first = false
			case j.Overlap == OverlapQueue: // they are submitted one by one: no scheduler is about to submit these
				continue
			}
			j.Dropped = append(j.Dropped, f)
		}
		j.Pending, dropped = nil, j.Dropped
		return changes
	})
	if err != nil || len(dropped) == 0 {
		return err
	}
	if err := e.dropFires(ctx, id, dropped); err != nil {
		return err // they are still in the document: disabling again resumes
	}
	err = e.changeJob(ctx, id, func(j *jobDoc, _ time.Time) bool {
		n := len(j.Dropped)
		j.Dropped = slices.DeleteFunc(j.Dropped, func(f firing) bool { return slices.Contains(dropped, f) })
		if len(j.Dropped) == n {
			return false
		}
		for _, f := range dropped {
			if f.Skip == "" && j.Overlap != OverlapAllow { // it may have been submitted before, and live on
				j.live(fireID(id, f.Due))
			}
		}
		return true
	})
	if CodeOf(err) == ErrNotFound {
		return nil
	}
	return err
}

// enableJob enables a job. If an interrupted disableJob has left something, that is completed first: due times from now on must know
// which tasks live.
func (e *engine) enableJob(ctx context.Context, id string) error {
	for range maxTries {
		left := false
		err := e.changeJob(ctx, id, func(j *jobDoc, now time.Time) bool {
			left = len(j.Dropped) > 0
			if left {
				return false
			}
			ahead := j.ahead(now)
			if ahead {
				j.rewind(now)
			}
			if !j.Disabled {
				return ahead
			}
			j.Disabled = false
			j.Done = max(j.Done, now.Unix()) // what came meanwhile was not missed
			return true
		})
		if err != nil || !left {
			return err
		}
		if err := e.disableJob(ctx, id); err != nil {
			return err
		}
	}
	return Errorf(ErrUnavailable, "job %q: others disable it all the time", id)
}

// dropFires takes the ids of fires that must not be submitted any more. A scheduler decides a fire by a write to the job's
// document, and submits its task afterwards: one that has decided before the job was disabled may be about to, and can't be
// reached. So the task is inserted here, due in a hundred years, and stopped: to insert it again changes nothing. A task that
// is there was submitted before, and stays. Due times that were skipped are noted in the history.
func (e *engine) dropFires(ctx context.Context, id string, fires []firing) error {
	j, err := e.readJob(ctx, id)
	if err != nil {
		return err
	}
	now, err := e.now(ctx)
	if err != nil {
		return err
	}
	never := now.AddDate(100, 0, 0)
	var tasks []backend.NewTask
	var notes []fireNote
	for _, f := range fires {
		if f.Skip != "" {
			notes = append(notes, fireNote{firing: f, At: now.Unix()})
			continue
		}
		t := j.task(fireID(id, f.Due))
		t.Task.Status, t.Task.RunAt = backend.StatusWaiting, never
		tasks = append(tasks, t)
	}
	var stored []Task
	for part := range backend.SplitInsert(tasks, maxInsertBytes) {
		err := e.requests.Do(ctx, func(ctx context.Context) error {
			some, err := e.store.Insert(ctx, part)
			if err == nil {
				stored = append(stored, some...)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := e.requests.Do(ctx, func(ctx context.Context) error { return e.note(ctx, id, notes...) }); err != nil {
		return err
	}
	for _, t := range stored {
		if t.Status.Final() || t.RunAt.Before(now.AddDate(50, 0, 0)) {
			continue
		}
		err := e.requests.Do(ctx, func(ctx context.Context) error {
			return e.stopTask(ctx, backend.Stop{ID: t.ID, Reason: "its job was disabled before it was submitted"})
		})
		if err != nil && CodeOf(err) != ErrNotFound {
			return err
		}
	}
	return nil
}
