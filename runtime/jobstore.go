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
	var j *jobDoc
	err := e.ask(ctx, func(ctx context.Context) (err error) {
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
	for range maxTries {
		err = e.ask(ctx, func(ctx context.Context) error {
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
		switch {
		case CodeOf(err) == ErrAborted && sleep(ctx, jitter(retryBase)): // another process changed it
			continue
		case err == nil && wrote:
			e.sched.look(id)
			e.broadcast(topicJobs, []string{id})
		}
		return err
	}
	return Errorf(ErrUnavailable, "job %q: others change it all the time", id)
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
		if len(j.Owed)+len(j.Dropped) > 0 { // a scheduler may be about to submit these
			if err := e.disableJob(ctx, id); err != nil && CodeOf(err) != ErrNotFound {
				return err
			}
			continue
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
		e.dropHistory(ctx, id)
		e.sched.look(id)
		e.broadcast(topicJobs, []string{id})
		return nil
	}
	return Errorf(ErrUnavailable, "job %q: others change it all the time, or the store is away", id)
}

// disableJob disables a job, and ensures that nothing that was decided before is submitted after it has returned.
func (e *engine) disableJob(ctx context.Context, id string) error {
	var dropped []firing
	err := e.changeJob(ctx, id, func(j *jobDoc, _ time.Time) bool {
		changes := !j.Disabled || len(j.Owed) > 0
		j.Disabled = true
		for _, f := range j.Owed {
			if f.Skip != "" {
				continue
			}
			j.Dropped = append(j.Dropped, f)
			if j.Overlap == OverlapQueue { // they are submitted one by one
				break
			}
		}
		j.Owed, dropped = nil, j.Dropped
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
		return len(j.Dropped) != n
	})
	if CodeOf(err) == ErrNotFound {
		return nil
	}
	return err
}

// dropFires takes the ids of fires that must not be submitted any more. A scheduler decides a fire by a write to the job's
// document, and submits its task afterwards: one that has decided before the job was disabled may be about to, and can't be
// reached. So the task is inserted here, due in a hundred years, and stopped: to insert it again changes nothing. A task that
// is there was submitted before, and stays.
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
	tasks := make([]backend.NewTask, len(fires))
	for i, f := range fires {
		tasks[i] = j.task(fireID(id, f.Due))
		tasks[i].Task.Status, tasks[i].Task.RunAt = backend.StatusWaiting, never
	}
	var stored []Task
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		stored, err = e.store.Insert(ctx, tasks)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range stored {
		if t.Status.Final() || t.RunAt.Before(now.AddDate(50, 0, 0)) {
			continue
		}
		var stopped []Task
		err := e.ask(ctx, func(ctx context.Context) (err error) {
			stopped, err = e.store.Stop(ctx, backend.Stop{ID: t.ID, Reason: "its job was disabled before it was submitted"})
			return err
		})
		if err != nil && CodeOf(err) != ErrNotFound {
			return err
		}
		e.stopped(e.ctx, stopped)
	}
	return nil
}

// checkJobs returns what is wrong with the jobs that workers declare.
func checkJobs(workers []WorkerSpec) (errs []error) {
	queues := map[string]string{}
	for _, w := range workers {
		for _, j := range w.Jobs {
			if _, err := contentOf(j); err != nil {
				errs = append(errs, err)
			}
			if other, twice := queues[j.ID]; twice {
				errs = append(errs, Errorf(ErrAlreadyExists, "job %q is declared twice: for the queues %q and %q", j.ID, other, w.Name))
			}
			queues[j.ID] = w.Name
		}
	}
	return errs
}

// startJobs puts the jobs that the program declares, removes those of its workers that it no longer declares, and
// begins to fire. Programs of two versions that run side by side each do so once, when they start: the last one to
// start prevails. Where the documents can't be reached it goes on trying, and the App starts.
func (e *engine) startJobs(ctx context.Context, workers []WorkerSpec) error {
	declared := map[string]bool{}
	for _, w := range workers {
		for _, j := range w.Jobs {
			declared[j.ID] = true
		}
	}
	if e.ports.Docs == nil {
		if len(declared) > 0 {
			return noDocs(e.ports.Name)
		}
		return nil
	}
	errs := e.declareJobs(ctx, workers, declared)
	if len(errs) > 0 && (hopeless(errs) || ctx.Err() != nil) {
		return errors.Join(errs...)
	}
	if len(errs) > 0 {
		e.logAway("the declared jobs are not put yet; trying again", errors.Join(errs...))
		e.background(func(ctx context.Context) { e.declareLater(ctx, workers, declared) })
	}
	if !e.app.settings.idle {
		e.sched.start()
	}
	return nil
}

// declareJobs puts the declared jobs, and removes those that no longer are. It may be repeated.
func (e *engine) declareJobs(ctx context.Context, workers []WorkerSpec, declared map[string]bool) (errs []error) {
	for _, w := range workers {
		for _, j := range w.Jobs {
			if err := e.putJob(ctx, j); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(workers) > 0 {
		if err := e.dropJobs(ctx, workers, declared); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// declareLater goes on declaring jobs until it has succeeded, or can't.
func (e *engine) declareLater(ctx context.Context, workers []WorkerSpec, declared map[string]bool) {
	for sleep(ctx, jitter(pollMost)) {
		opCtx, cancel := context.WithTimeout(ctx, opTimeout)
		errs := e.declareJobs(opCtx, workers, declared)
		cancel()
		if ctx.Err() == nil && hopeless(errs) {
			e.log.Error("the declared jobs can't be put", "error", errors.Join(errs...))
		}
		if len(errs) == 0 || hopeless(errs) {
			return
		}
	}
}

// hopeless says whether something will not come right by waiting.
func hopeless(errs []error) bool {
	return slices.ContainsFunc(errs, func(err error) bool { return !away(err) })
}

// dropJobs removes the declared jobs of workers that are no longer declared.
func (e *engine) dropJobs(ctx context.Context, workers []WorkerSpec, declared map[string]bool) error {
	stored, err := e.readJobs(ctx, "")
	if err != nil {
		return fmt.Errorf("reading the jobs: %w", err)
	}
	for _, j := range stored {
		ours := slices.ContainsFunc(workers, func(w WorkerSpec) bool { return w.Name == j.Queue })
		if j.Declared && ours && !declared[j.id] {
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
	ids, err := e.insert(ctx, []backend.NewTask{j.task(firePrefix + id + "/run-" + e.app.NewID())})
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
