package jobs

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Catalog reads and changes the stored jobs of a cluster for callers. If the backend stores no documents, its methods
// return ErrUnimplemented. They are safe for concurrent use.
type Catalog struct {
	cfg     Config
	tasks   Tasks
	changed func(ids ...string) // notifies this process's scheduler
}

func (c *Catalog) unimplemented() *backend.Error {
	return backend.Errorf(backend.ErrUnimplemented, "backend %q does not support jobs",
		c.cfg.Backend).With(backend.OutcomeNotSent)
}

// publish notifies the schedulers of all processes of a changed job.
func (c *Catalog) publish(id string) {
	c.changed(id)
	c.cfg.Bus.Publish(topicJobs, []string{id})
}

// now returns the store's time.
func (c *Catalog) now(ctx context.Context) (now time.Time, err error) {
	err = c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
		now, err = c.cfg.Store.Now(ctx)
		return err
	})
	return now, err
}

// Get returns a job, or ErrNotFound.
func (c *Catalog) Get(ctx context.Context, id string) (*Document, error) { return c.get(ctx, id, nil) }

// get is Get. It returns known, which may be nil, if its revision has not changed.
func (c *Catalog) get(ctx context.Context, id string, known *Document) (*Document, error) {
	if c.cfg.Docs == nil {
		return nil, c.unimplemented()
	}
	var j *Document
	err := c.cfg.Requests.Do(ctx, func(ctx context.Context) (err error) {
		j, err = c.load(ctx, id, known)
		return err
	})
	return j, err
}

// load is get without retries.
func (c *Catalog) load(ctx context.Context, id string, known *Document) (*Document, error) {
	if c.cfg.Docs == nil {
		return nil, c.unimplemented()
	}
	d, err := c.cfg.Docs.Get(ctx, docPrefix+id)
	switch {
	case backend.CodeOf(err) == backend.ErrNotFound:
		return nil, backend.Errorf(backend.ErrNotFound, "job %q not found", id)
	case err != nil:
		return nil, err
	}
	return current(d, known)
}

// All returns the jobs whose ids begin with prefix. A job that can't be decoded is logged and left out.
func (c *Catalog) All(ctx context.Context, prefix string) ([]*Document, error) {
	return c.all(ctx, prefix, nil)
}

// all is All. Of the known jobs, by id, it returns those whose revisions have not changed.
func (c *Catalog) all(ctx context.Context, prefix string, known map[string]*Document) ([]*Document, error) {
	if c.cfg.Docs == nil {
		return nil, c.unimplemented()
	}
	var docs []backend.Doc
	err := c.cfg.Requests.Do(ctx, func(ctx context.Context) (err error) {
		docs, err = c.cfg.Docs.List(ctx, docPrefix+prefix)
		return err
	})
	jobs := make([]*Document, 0, len(docs))
	for _, d := range docs {
		id := strings.TrimPrefix(d.Name, docPrefix)
		j, err := current(d, known[id])
		if err != nil {
			c.cfg.Log.Error("can't read job, not firing it", "job", id, "error", err)
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs, err
}

// encode returns the stored form of a job.
func (j *Document) encode() (json.RawMessage, error) {
	value, err := json.Marshal(j)
	if err != nil {
		return nil, backend.Errorf(backend.ErrInternal, "encoding job %q: %w", j.id, err)
	}
	return value, nil
}

// write stores a job if its revision has not changed since it was read, or else returns ErrAborted.
func (c *Catalog) write(ctx context.Context, j *Document) error {
	value, err := j.encode()
	if err != nil {
		return err
	}
	rev, err := c.cfg.Docs.PutIf(ctx, docPrefix+j.id, j.revision, value)
	if err == nil {
		j.revision = rev
	}
	return err
}

// writeAll is write for different jobs. It returns the error of each.
func (c *Catalog) writeAll(ctx context.Context, jobs []*Document) []error {
	errs := make([]error, len(jobs))
	var docs []backend.Doc
	var which []int // index in jobs of each of docs
	bytes := 0
	put := func() {
		puts, err := c.cfg.Docs.PutAll(ctx, docs)
		for k, i := range which {
			if err != nil {
				errs[i] = err
			} else if errs[i] = puts[k].Err; errs[i] == nil {
				jobs[i].revision = puts[k].Revision
			}
		}
		docs, which, bytes = docs[:0], which[:0], 0
	}
	for i, j := range jobs {
		value, err := j.encode()
		if err != nil {
			errs[i] = err
			continue
		}
		docs, which = append(docs, backend.Doc{Name: docPrefix + j.id, Revision: j.revision, Value: value}), append(which, i)
		if bytes += len(value); bytes >= maxBatchBytes {
			put()
		}
	}
	if len(docs) > 0 {
		put()
	}
	return errs
}

// change modifies an existing job. fn reports whether there is anything to write, and may be called several times.
func (c *Catalog) change(ctx context.Context, id string, fn func(j *Document, now time.Time) bool) error {
	return c.edit(ctx, id, func(j *Document, now time.Time) (bool, error) {
		if j.revision == 0 {
			return false, backend.Errorf(backend.ErrNotFound, "job %q not found", id)
		}
		return fn(j, now), nil
	})
}

// edit is like change but also handles a missing job: fn gets an empty one with revision 0. After a write with an
// unknown outcome it reads the job again, until the store replies or ctx ends.
func (c *Catalog) edit(ctx context.Context, id string, fn func(j *Document, now time.Time) (bool, error)) error {
	wrote := false
	err := retry.Update(ctx, func(ctx context.Context) error {
		return c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
			began := time.Now()
			now, err := c.cfg.Store.Now(ctx) // in each try: a store that was unavailable makes tries take long
			if err != nil {
				return err
			}
			j, err := c.load(ctx, id, nil)
			if backend.CodeOf(err) == backend.ErrNotFound {
				j, err = &Document{id: id}, nil
			}
			if err != nil {
				return err
			}
			changes, err := fn(j, now)
			if err != nil || !changes {
				return err
			}
			if time.Since(began) > opTimeout { // this process was suspended
				return backend.Errorf(backend.ErrAborted, "job %q must be read again", id)
			}
			wrote = true // or it may not have been written; on a retry fn may find nothing to change
			return c.write(ctx, j)
		})
	})
	if err == nil && wrote {
		c.publish(id)
	}
	return err
}

// Put creates a job, or changes an existing one to match spec. It writes nothing if they match already. If the time
// table doesn't change, the job's due times continue.
func (c *Catalog) Put(ctx context.Context, spec Spec, by Action) error {
	content, wrong := spec.content()
	if wrong != nil {
		return wrong
	}
	return c.edit(ctx, spec.ID, func(j *Document, now time.Time) (bool, error) {
		if j.revision == 0 {
			j.Disabled = spec.Disabled
		}
		overlapped := j.revision != 0 && j.Overlap == OverlapAllow
		changes := j.replace(content, now)
		if changes {
			j.change(by, now)
		}
		if overlapped && j.Overlap != OverlapAllow {
			return changes, c.adoptLive(ctx, j)
		}
		return changes, nil
	})
}

// Run submits a task of a job immediately, regardless of its policies, and returns the task's id. If prepare, which may
// change the new task, fails, Run returns its error.
func (c *Catalog) Run(
	ctx context.Context, id string, prepare func(context.Context, *backend.Task) error,
) (task string, err error) {
	j, err := c.Get(ctx, id)
	if err != nil {
		return "", err
	}
	now, err := c.now(ctx)
	if err != nil {
		return "", err
	}
	task = runID(id, c.cfg.NewID())
	n := j.task(task)
	if h := c.cfg.Hooks; h != nil {
		var end func(instrument.End)
		ctx, end = c.observe(ctx, j, []backend.NewTask{n})
		defer func() { h.EndSubmitOne(end, task, task != "", err) }()
	}
	if err := prepare(ctx, &n.Task); err != nil {
		return "", err
	}
	counted := time.Now()
	if j.Overlap != OverlapAllow { // before the insert, after which this process may die
		if err := c.countRun(ctx, id, task); err != nil {
			return "", backend.Errorf(backend.CodeOf(err), "counting a task of job %q: %w", id, err).With(backend.OutcomeNotSent)
		}
	}
	err = c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
		_, err := c.insert(ctx, []backend.NewTask{n})
		return err
	})
	if err != nil {
		return "", err
	}
	c.wake(j.Queue, []string{task}, len(j.Allow) > 0)
	if j.Overlap != OverlapAllow && time.Since(counted) > heldFor/2 { // a scheduler may have forgotten it meanwhile
		c.logUnnoted(task, c.countRun(ctx, id, task))
	}
	err = c.addHistory(ctx, id, []HistoryEntry{{At: now.Unix(), Task: task}})
	c.logUnnoted(task, err)
	return task, nil
}

// insert inserts tasks, in batches if they are many or large, and returns them as stored. It returns existing tasks
// unchanged. After an error it returns the tasks of the batches before; any other may be stored.
func (c *Catalog) insert(ctx context.Context, all []backend.NewTask) (stored []backend.Task, err error) {
	for part := range backend.SplitInsert(all, maxInsertBytes) {
		some, err := c.cfg.Store.Insert(ctx, part)
		if err != nil {
			return stored, err
		}
		stored = append(stored, some...)
	}
	return stored, nil
}

// logUnnoted logs that a task of Run was not recorded in its job's documents.
func (c *Catalog) logUnnoted(task string, err error) {
	if err != nil {
		c.cfg.Log.Debug("recording a manual run in its job failed", "task", task, "error", err)
	}
}

// wake publishes hints for new tasks of jobs. If some of the jobs have an Allow, all processes poll as well, because a
// process that may not claim them would waste a hint.
func (c *Catalog) wake(queue string, ids []string, poll bool) {
	c.tasks.Wake(queue, ids)
	if poll {
		c.tasks.PollAgain(queue)
	}
}
