package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	topicJobs = "af.jobs" // jobs have changed
	topicLook = "af.look" // queues in which something waits that not everybody may claim
	maxTries  = 20        // of a change that others get in the way of
)

// now is the store's time.
func (e *engine) now(ctx context.Context) (now time.Time, err error) {
	err = e.ask(ctx, func(ctx context.Context) error {
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
	var d backend.Doc
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		d, err = e.ports.Docs.Get(ctx, jobDocs+id)
		return err
	})
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
	err := e.ask(ctx, func(ctx context.Context) (err error) {
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

// write writes a job if its revision is still what it was; ErrAborted otherwise.
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

// editJob is changeJob for a job that may be new: its revision is 0 then.
func (e *engine) editJob(ctx context.Context, id string, change func(j *jobDoc, now time.Time) (bool, error)) error {
	now, err := e.now(ctx)
	if err != nil {
		return err
	}
	for range maxTries {
		var j *jobDoc
		if j, err = e.readJob(ctx, id); CodeOf(err) == ErrNotFound {
			j, err = &jobDoc{id: id}, nil
		}
		if err != nil {
			return err
		}
		changes, err := change(j, now)
		if err != nil || !changes {
			return err
		}
		switch err = e.writeJob(ctx, j); CodeOf(err) {
		case ErrAborted, ErrUnavailable: // somebody else's write, or perhaps this one's
			if !sleep(ctx, jitter(retryBase)) {
				return local(err)
			}
		default:
			if err != nil {
				return local(err)
			}
			e.sched.look()
			e.broadcast(topicJobs, []string{id})
			return nil
		}
	}
	return Errorf(ErrUnavailable, "job %q: others change it all the time, or the store is away", id)
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

// removeJob removes a job, if it is one of those.
func (e *engine) removeJob(ctx context.Context, id string, if_ func(*jobDoc) bool) error {
	for range maxTries {
		j, err := e.readJob(ctx, id)
		if CodeOf(err) == ErrNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if !if_(j) {
			return nil
		}
		err = e.ports.Docs.Delete(ctx, jobDocs+id, j.revision)
		switch CodeOf(err) {
		case ErrAborted, ErrUnavailable:
			if !sleep(ctx, jitter(retryBase)) {
				return local(err)
			}
			continue
		}
		if err != nil {
			return local(err)
		}
		e.sched.look()
		e.broadcast(topicJobs, []string{id})
		if d, err := e.ports.Docs.Get(ctx, fireDocs+id); err == nil {
			err = e.ports.Docs.Delete(ctx, d.Name, d.Revision)
			e.leave("delete the history of a job", id, err)
		}
		return nil
	}
	return Errorf(ErrUnavailable, "job %q: others change it all the time, or the store is away", id)
}

// startJobs puts the jobs that the program declares, removes those of its workers that it no longer declares, and begins to
// fire. Programs of two versions that run side by side each do so once, when they start: the last one to start prevails.
func (e *engine) startJobs(ctx context.Context, workers []WorkerSpec) error {
	if e.ports.Docs == nil {
		for _, w := range workers {
			if len(w.Jobs) > 0 {
				return noDocs(e.ports.Name)
			}
		}
		return nil
	}
	declared := map[string]string{}
	var errs []error
	for _, w := range workers {
		for _, j := range w.Jobs {
			if other, twice := declared[j.ID]; twice {
				errs = append(errs, Errorf(ErrAlreadyExists, "job %q is declared twice: for the queues %q and %q", j.ID, other, w.Name))
				continue
			}
			declared[j.ID] = w.Name
			if err := e.putJob(ctx, j); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(workers) > 0 {
		errs = append(errs, e.dropJobs(ctx, workers, declared))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !e.app.settings.idle {
		e.sched.start()
	}
	return nil
}

// dropJobs removes the declared jobs of workers that are no longer declared.
func (e *engine) dropJobs(ctx context.Context, workers []WorkerSpec, declared map[string]string) error {
	stored, err := e.readJobs(ctx, "")
	if err != nil {
		return fmt.Errorf("reading the jobs: %w", err)
	}
	for _, j := range stored {
		ours := slices.ContainsFunc(workers, func(w WorkerSpec) bool { return w.Name == j.Queue })
		if _, still := declared[j.id]; j.Declared && ours && !still {
			e.log.Info("a job is no longer declared, and removed", "job", j.id)
			if err := e.removeJob(ctx, j.id, func(is *jobDoc) bool { return is.Declared && is.Queue == j.Queue }); err != nil {
				return err
			}
		}
	}
	return nil
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

// A fireDoc is the document fires/<id>: the history of a job, latest last. N numbers its fires.
type fireDoc struct {
	N     int64      `json:"n"`
	Fires []fireNote `json:"fires"`
}

type fireNote struct {
	firing
	N    int64  `json:"n"`
	At   int64  `json:"at"`
	Task string `json:"task,omitempty"` // of a run by hand
}

// note adds to the history of a job what isn't there yet.
func (e *engine) note(ctx context.Context, id string, notes ...fireNote) error {
	if len(notes) == 0 {
		return nil
	}
	var err error
	for range maxTries {
		var h fireDoc
		var rev int64
		if h, rev, err = e.history(ctx, id); err != nil {
			return err
		}
		is := map[int64]bool{}
		for _, f := range h.Fires {
			is[f.Due] = f.Task == "" || is[f.Due]
		}
		before := h.N
		for _, f := range notes {
			if f.Task == "" && is[f.Due] {
				continue
			}
			h.N++
			f.N = h.N
			h.Fires = append(h.Fires, f)
		}
		if h.N == before {
			return nil
		}
		h.Fires = h.Fires[max(0, len(h.Fires)-maxFires):]
		value, merr := json.Marshal(h)
		if merr != nil {
			return Errorf(ErrInternal, "the history of job %q does not encode: %w", id, merr)
		}
		if _, err = e.ports.Docs.PutIf(ctx, fireDocs+id, rev, value); CodeOf(err) != ErrAborted {
			return err
		}
	}
	return err
}

// history reads the history of a job; an empty one where there is none.
func (e *engine) history(ctx context.Context, id string) (h fireDoc, rev int64, err error) {
	d, err := e.ports.Docs.Get(ctx, fireDocs+id)
	switch {
	case CodeOf(err) == ErrNotFound:
		return h, 0, nil
	case err != nil:
		return h, 0, err
	}
	if err := json.Unmarshal(d.Value, &h); err != nil {
		return h, 0, Errorf(ErrDataLoss, "the history of job %q: %w", id, err)
	}
	return h, d.Revision, nil
}

func (e *engine) listFires(ctx context.Context, q FireQuery) (FirePage, error) {
	if q.Job == "" {
		return FirePage{}, NewError(ErrInvalidArgument, "fires are those of a job: Job is missing").With(OutcomeNotSent)
	}
	j, err := e.readJob(ctx, q.Job)
	if err != nil {
		return FirePage{}, err
	}
	var h fireDoc
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		h, _, err = e.history(ctx, q.Job)
		return err
	})
	if err != nil {
		return FirePage{}, err
	}
	type numbered struct {
		Fire
		n int64
	}
	var fires []numbered
	for _, n := range slices.Backward(h.Fires) {
		f := Fire{Job: q.Job, At: time.Unix(n.At, 0).UTC(), TaskID: n.Task, Skipped: n.Skip, More: n.More}
		if n.Task == "" {
			f.Due = time.Unix(n.Due, 0).UTC()
			if n.Skip == "" {
				f.TaskID = j.fireID(n.Due)
			}
		}
		if !q.After.IsZero() && f.At.Before(q.After) || !q.Before.IsZero() && !f.At.Before(q.Before) ||
			q.Skipped != nil && *q.Skipped != (f.Skipped != "") {
			continue
		}
		fires = append(fires, numbered{f, n.N})
	}
	// The latest have the lowest keys.
	key := func(f numbered) string { return fmt.Sprintf("%020d", 1<<62-f.n) }
	page := FirePage{Total: len(fires)}
	list, cursor, err := pageOf(fires, key, q.Cursor, q.Limit)
	page.Cursor = cursor
	for _, f := range list {
		page.Fires = append(page.Fires, f.Fire)
	}
	return page, err
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
	ids, err := e.insert(ctx, []backend.NewTask{j.task("job/" + id + "/run-" + e.app.NewID())})
	if err != nil {
		return "", err
	}
	e.wakeJob(j, ids)
	if j.Overlap != OverlapAllow {
		err := e.changeJob(ctx, id, func(j *jobDoc, _ time.Time) bool {
			j.live(ids...)
			return true
		})
		e.leave("remember a run by hand", ids[0], err)
	}
	err = e.note(ctx, id, fireNote{At: now.Unix(), Task: ids[0]})
	e.leave("note a run by hand", ids[0], err)
	return ids[0], nil
}

// live remembers tasks that have not ended.
func (j *jobDoc) live(ids ...string) {
	j.Live = append(j.Live, ids...)
	j.Live = j.Live[max(0, len(j.Live)-maxLive):]
}

// wakeJob hints at new tasks of a job. Who may not claim them would answer the hint in vain, so all look.
func (e *engine) wakeJob(j *jobDoc, ids []string) {
	e.wake(j.Queue, ids)
	if len(j.Allow) > 0 {
		e.broadcast(topicLook, []string{j.Queue})
	}
}

// lookAgain lets the pools of some queues claim whatever there is; nil, after a gap, all.
func (e *engine) lookAgain(news json.RawMessage) {
	var queues []string
	all := news == nil || json.Unmarshal(news, &queues) != nil
	for name, p := range e.pools {
		if all || slices.Contains(queues, name) {
			p.lookAgain()
			p.signal()
		}
	}
}
