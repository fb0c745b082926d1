package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// maxInsertBytes is the size of an Insert.
const maxInsertBytes = tasks.MaxInsertBytes

const (
	topicJobs = "af.jobs" // jobs have changed
	maxTries  = 20        // of a change that others get in the way of
)

// now is the store's time.
func (e *engine) now(ctx context.Context) (now time.Time, err error) {
	err = e.requests.Do(ctx, func(ctx context.Context) error {
		now, err = e.store.Now(ctx)
		return err
	})
	return now, err
}

// readJob reads a job.
func (e *engine) readJob(ctx context.Context, id string) (*jobDoc, error) {
	if e.ports.Docs == nil {
		return nil, noDocs(e.ports.Name)
	}
	var j *jobDoc
	err := e.requests.Do(ctx, func(ctx context.Context) (err error) {
		j, err = e.loadJob(ctx, id)
		return err
	})
	return j, err
}

// loadJob is readJob without repeats.
func (e *engine) loadJob(ctx context.Context, id string) (*jobDoc, error) {
	if e.ports.Docs == nil {
		return nil, noDocs(e.ports.Name)
	}
	d, err := e.ports.Docs.Get(ctx, jobDocs+id)
	switch {
	case CodeOf(err) == ErrNotFound:
		return nil, Errorf(ErrNotFound, "there is no job %q", id)
	case err != nil:
		return nil, err
	}
	return readJobDoc(d)
}

// readJobs reads the jobs whose ids begin so. One that can't be read is logged and left out.
func (e *engine) readJobs(ctx context.Context, prefix string) ([]*jobDoc, error) {
	if e.ports.Docs == nil {
		return nil, noDocs(e.ports.Name)
	}
	var docs []backend.Doc
	err := e.requests.Do(ctx, func(ctx context.Context) (err error) {
		docs, err = e.ports.Docs.List(ctx, jobDocs+prefix)
		return err
	})
	jobs := make([]*jobDoc, 0, len(docs))
	for _, d := range docs {
		j, err := readJobDoc(d)
		if err != nil {
			e.log.Error("a job can't be read, and is not fired", "job", strings.TrimPrefix(d.Name, jobDocs), "error", err)
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs, err
}

// writeJob writes a job if its revision is still what it was; ErrAborted otherwise.
func (e *engine) writeJob(ctx context.Context, j *jobDoc) error {
	value, err := json.Marshal(j)
	if err != nil {
		return Errorf(ErrInternal, "job %q does not encode: %w", j.id, err)
	}
	rev, err := e.ports.Docs.PutIf(ctx, jobDocs+j.id, j.revision, value)
	if err == nil {
		j.revision = rev
	}
	return err
}

// changeJob changes a job that exists: change says whether there is anything to write. It may be called again.
func (e *engine) changeJob(ctx context.Context, id string, change func(j *jobDoc, now time.Time) bool) error {
	return e.editJob(ctx, id, func(j *jobDoc, now time.Time) (bool, error) {
		if j.revision == 0 {
			return false, Errorf(ErrNotFound, "there is no job %q", id)
		}
		return change(j, now), nil
	})
}

// editJob is changeJob for a job that may be new: its revision is 0 then. A write whose outcome is unknown is followed by another look,
// until the store answers or ctx ends.
func (e *engine) editJob(ctx context.Context, id string, change func(j *jobDoc, now time.Time) (bool, error)) error {
	now, err := e.now(ctx)
	if err != nil {
		return err
	}
	wrote := false
	err = retry.Update(ctx, func(ctx context.Context) error {
		return e.requests.Do(ctx, func(ctx context.Context) error {
			j, err := e.loadJob(ctx, id)
			if CodeOf(err) == ErrNotFound {
				j, err = &jobDoc{id: id}, nil
			}
			if err != nil {
				return err
			}
			changes, err := change(j, now)
			if err != nil || !changes {
				return err
			}
			wrote = true // perhaps: then a repeat may find nothing to change
			return e.writeJob(ctx, j)
		})
	})
	if err == nil && wrote {
		e.sched.look(id)
		e.bus.Publish(topicJobs, []string{id})
	}
	return err
}

func (e *engine) putJob(ctx context.Context, spec JobSpec) error {
	c, wrong := contentOf(spec)
	if wrong != nil {
		return wrong
	}
	return e.editJob(ctx, spec.ID, func(j *jobDoc, now time.Time) (bool, error) {
		if j.revision == 0 {
			j.Disabled = spec.Options.Disabled
		}
		return j.replace(c, now), nil
	})
}

func (e *engine) listJobs(ctx context.Context, q JobQuery) (JobPage, error) {
	all, err := e.readJobs(ctx, q.Prefix)
	if err != nil {
		return JobPage{}, err
	}
	var jobs []Job
	for _, j := range all {
		if q.Queue != "" && q.Queue != j.Queue || q.Disabled != nil && *q.Disabled != j.Disabled {
			continue
		}
		jobs = append(jobs, j.public())
	}
	key := func(j Job) string { return j.ID }
	switch q.Sort {
	case JobsByID:
	case JobsByNext:
		key = func(j Job) string {
			if j.Next.IsZero() {
				return "~" + j.ID
			}
			return j.Next.UTC().Format(time.RFC3339) + " " + j.ID
		}
	default:
		return JobPage{}, Errorf(ErrInvalidArgument, "there is no order %q of jobs", q.Sort).With(OutcomeNotSent)
	}
	slices.SortFunc(jobs, func(a, b Job) int { return cmp.Compare(key(a), key(b)) })
	page := JobPage{Total: len(jobs)}
	page.Jobs, page.Cursor, err = pageOf(jobs, key, q.Cursor, q.Limit)
	return page, err
}

// pageOf cuts a page out of a sorted list: what comes after the cursor, which is a key.
func pageOf[T any](list []T, key func(T) string, cursor string, limit int) ([]T, string, error) {
	switch {
	case limit < 0 || limit > 1000:
		return nil, "", Errorf(ErrInvalidArgument, "a page of %d: 1 to 1000 are allowed", limit).With(OutcomeNotSent)
	case limit == 0:
		limit = 100
	}
	i := 0
	if cursor != "" {
		for i < len(list) && key(list[i]) <= cursor {
			i++
		}
	}
	rest := list[i:]
	if len(rest) <= limit {
		return rest, "", nil
	}
	return rest[:limit], key(rest[limit-1]), nil
}

// runJob submits a task of a job by hand.
func (e *engine) runJob(ctx context.Context, id string) (string, error) {
	j, err := e.readJob(ctx, id)
	if err != nil {
		return "", err
	}
	now, err := e.now(ctx)
	if err != nil {
		return "", err
	}
	ids, err := e.client.Insert(ctx, []backend.NewTask{j.task(firePrefix + id + "/run-" + e.app.NewID())})
	if err != nil {
		return "", err
	}
	e.wakeJob(j, ids)
	if j.Overlap != OverlapAllow {
		err := e.changeJob(ctx, id, func(j *jobDoc, _ time.Time) bool {
			j.live(ids...)
			return true
		})
		e.client.DeferToSweeper("remember a run by hand", ids[0], err)
	}
	err = e.note(ctx, id, fireNote{At: now.Unix(), Task: ids[0]})
	e.client.DeferToSweeper("note a run by hand", ids[0], err)
	return ids[0], nil
}

// live remembers tasks that have not ended.
func (j *jobDoc) live(ids ...string) {
	j.Live = append(j.Live, ids...)
	j.Live = j.Live[max(0, len(j.Live)-maxLive):]
}

// wakeJob hints at new tasks of a job. Who may not claim them would answer the hint in vain, so all look.
func (e *engine) wakeJob(j *jobDoc, ids []string) {
	e.client.Wake(j.Queue, ids)
	if len(j.Allow) > 0 {
		e.lookEverywhere(j.Queue)
	}
}
