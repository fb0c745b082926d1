package fault

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A firing is a due time in a job's document, with the reason if it makes no task.
type firing struct {
	Due  int64
	Skip string
	More int // earlier due times that were skipped as well
}

// A jobState is the content of a job's document.
type jobState struct {
	Cron     string
	Missed   string
	Overlap  string
	Created  int64
	Disabled bool
	Done     int64
	Held     int64 // until then, a task of RunJob may be about to be inserted
	Owed     []firing
	Dropped  []firing

	every   int64     // seconds of @every
	enabled time.Time // when that was written
}

// A jobChecker replays the job entries of a log. It computes due times independently of the runtime.
type jobChecker struct {
	jobs     map[string]*jobState
	noted    map[string]map[int64]bool  // skipped due times in the history of each job
	inserted map[string]int             // all inserted tasks of fires
	live     map[string]map[string]bool // tasks of fires, by job
	former   map[string]map[string]bool // those inserted before the job was removed
	manual   map[string]int             // tasks of RunJob that have not ended, by job
	ended    map[string]time.Time       // the last task of each job
	found    []Violation
}

// CheckJobs returns the broken promises for jobs with @every: each due time is decided once; it makes one task, or
// the history has a reason that permits none; with overlap=skip and =queue no two tasks are live at once; and no task
// is inserted that isn't in the job's document.
func (l *Log) CheckJobs() []Violation {
	c := &jobChecker{
		jobs: map[string]*jobState{}, noted: map[string]map[int64]bool{}, inserted: map[string]int{},
		live: map[string]map[string]bool{}, former: map[string]map[string]bool{},
		manual: map[string]int{}, ended: map[string]time.Time{},
	}
	for _, e := range l.Entries {
		if id, ok := strings.CutPrefix(e.Doc, "jobs/"); ok {
			c.write(e, id)
		} else if id, ok := strings.CutPrefix(e.Doc, "fires/"); ok {
			c.note(e, id)
		}
		for _, ch := range e.Changes {
			c.task(e, ch)
		}
	}
	return c.found
}

func (c *jobChecker) fail(e Entry, job, format string, args ...any) {
	text := fmt.Sprintf("job %s at %.3fs: ", job, e.At.Seconds()) + fmt.Sprintf(format, args...)
	c.found = append(c.found, Violation{"jobs", []string{"jobs/" + job, "fires/" + job}, text})
}

func (c *jobChecker) note(e Entry, job string) {
	var h struct {
		Fires []struct {
			firing
			Task string
		}
	}
	if e.Value == nil {
		return // it was deleted
	}
	if err := json.Unmarshal(e.Value, &h); err != nil {
		c.fail(e, job, "its history: %v", err)
		return
	}
	seen := map[int64]bool{}
	for _, f := range h.Fires {
		if f.Task != "" {
			continue // a manual run
		}
		if seen[f.Due] {
			c.fail(e, job, "due time %d is twice in its history", f.Due)
		}
		seen[f.Due] = true
		if f.Skip == "" {
			continue
		}
		if c.noted[job] == nil {
			c.noted[job] = map[int64]bool{}
		}
		c.noted[job][f.Due] = true
	}
}

// write checks a change of a job's document.
func (c *jobChecker) write(e Entry, job string) {
	was := c.jobs[job]
	if e.Value == nil {
		if was != nil && len(was.Owed)+len(was.Dropped) > 0 {
			c.fail(e, job, "removed with due times left to be carried out: %+v %+v", was.Owed, was.Dropped)
		}
		delete(c.jobs, job)
		if live := c.live[job]; len(live) > 0 { // a late request may store the job again, with the same due times
			maps.Copy(live, c.former[job])
			c.former[job] = live
		}
		delete(c.live, job)
		return
	}
	now := &jobState{}
	if err := json.Unmarshal(e.Value, now); err != nil {
		c.fail(e, job, "%v", err)
		return
	}
	every, err := time.ParseDuration(strings.TrimPrefix(now.Cron, "@every "))
	if err != nil {
		c.fail(e, job, "its schedule: %v", err)
	}
	now.every, now.enabled = int64(every/time.Second), e.Now
	if was != nil && !was.Disabled {
		now.enabled = was.enabled
	}
	c.jobs[job] = now
	if was == nil {
		return
	}
	c.pending(e, job, was, now)
	if now.Done < was.Done {
		c.fail(e, job, "decided up to %d, and then to %d only", was.Done, now.Done)
	}
	if was.Created != now.Created || was.Cron != now.Cron || was.Disabled && !now.Disabled {
		return // later due times before this are not decided
	}
	if now.Done > was.Done {
		c.decided(e, job, was, now)
	}
}

// decided checks the decisions about due times that have passed.
func (c *jobChecker) decided(e Entry, job string, was, now *jobState) {
	if len(now.Owed) < len(was.Owed) {
		c.fail(e, job, "decided and carried out at once")
		return
	}
	next := now.Created + ((was.Done-now.Created)/now.every+1)*now.every
	waiting := slices.ContainsFunc(was.Owed, func(f firing) bool {
		id := fireID(job, f.Due)
		return f.Skip == "" && (c.inserted[id] == 0 || c.live[job][id]) // its task has not ended
	})
	for _, f := range now.Owed[len(was.Owed):] {
		first := f.Due - int64(f.More)*now.every
		if first != next {
			c.fail(e, job, "the next due time is %d, and it decides %d to %d", next, first, f.Due)
		}
		next = f.Due + now.every
		late := e.Now.Sub(time.Unix(f.Due, 0))
		switch f.Skip {
		case "":
			if now.Overlap == "skip" && waiting {
				c.fail(e, job, "two tasks at once: of %d, too", f.Due)
			}
			waiting = true
		case "missed":
			if late < 30*time.Second || now.Missed == "all" {
				c.fail(e, job, "%d is marked missed after %v, with policy %s", f.Due, late, now.Missed)
			}
		case "overlap":
			lately := e.Now.Sub(c.ended[job]) < time.Minute
			if now.Overlap != "skip" || !waiting && len(c.live[job])+len(c.former[job])+c.manual[job] == 0 && !lately &&
				e.Now.Unix() >= was.Held {
				c.fail(e, job, "%d is skipped for overlap, with policy %s, but no task is live", f.Due, now.Overlap)
			}
		default:
			c.fail(e, job, "%d is skipped for %q", f.Due, f.Skip)
		}
	}
	if now.Done >= next || now.Done < next-now.every {
		c.fail(e, job, "due times up to %d are decided, and pending ones end before %d", now.Done, next)
	}
	if time.Unix(now.Done, 0).After(e.Now) {
		c.fail(e, job, "%d is decided before it is due", now.Done)
	}
}

// pending checks that each fire removed from a document was carried out: a task was inserted, or the history has the
// reason why not. With overlap=queue, due times that still wait when the job is disabled are dropped.
func (c *jobChecker) pending(e Entry, job string, was, now *jobState) {
	for _, f := range slices.Concat(was.Owed, was.Dropped) {
		if slices.Contains(now.Owed, f) || slices.Contains(now.Dropped, f) {
			continue
		}
		switch {
		case f.Skip != "" && !c.noted[job][f.Due]:
			c.fail(e, job, "%d was skipped for %s, which is not in its history", f.Due, f.Skip)
		case f.Skip == "" && c.inserted[fireID(job, f.Due)] == 0 && (!now.Disabled || now.Overlap != "queue"):
			c.fail(e, job, "no task of %d", f.Due)
		}
	}
}

func fireID(job string, due int64) string { return "job/" + job + "/" + strconv.FormatInt(due, 10) }

// fireOf returns the job and the due time of a fire's task.
func fireOf(id string) (job string, due int64, ok bool) {
	rest, ok := strings.CutPrefix(id, "job/")
	if !ok {
		return "", 0, false
	}
	job, text, ok := strings.Cut(rest, "/")
	due, err := strconv.ParseInt(text, 10, 64)
	return job, due, ok && err == nil
}

// task tracks tasks of fires.
func (c *jobChecker) task(e Entry, ch Change) {
	job, due, ok := fireOf(ch.id())
	if !ok {
		c.manualRun(e, ch)
		return
	}
	id, t := ch.id(), ch.After
	if t.ID == "" || t.Status.Final() {
		delete(c.live[job], id)
		delete(c.former[job], id)
		c.ended[job] = e.Now
	}
	if ch.Before.ID != "" {
		return
	}
	c.inserted[id]++
	never := t.RunAt.Sub(e.Now) > 24*time.Hour // it prevents the insert of a fire's task
	if c.inserted[id] > 1 && !never {
		c.fail(e, job, "its task of %d was inserted twice", due)
	}
	j := c.jobs[job]
	owes := func(list []firing) bool { return slices.Contains(list, firing{Due: due}) }
	switch {
	case j == nil, !owes(j.Owed) && !owes(j.Dropped):
		c.fail(e, job, "a task of %d is inserted, which is not pending", due)
		return
	case never:
		return
	case j.Overlap != "allow" && len(c.live[job]) > 0:
		c.fail(e, job, "a task of %d is inserted while others live, with overlap=%s: %v", due, j.Overlap, c.live[job])
	}
	if c.live[job] == nil {
		c.live[job] = map[string]bool{}
	}
	c.live[job][id] = true
}

// manualRun tracks tasks of RunJob, which later due times take into account.
func (c *jobChecker) manualRun(e Entry, ch Change) {
	job, ok := strings.CutPrefix(ch.id(), "job/")
	job, _, run := strings.Cut(job, "/run-")
	switch {
	case !ok || !run:
	case ch.Before.ID == "":
		c.manual[job]++
	case ch.After.Status.Final() && !ch.Before.Status.Final():
		c.manual[job]--
		c.ended[job] = e.Now
	}
}

// CheckQuiet returns tasks of fires inserted while the job was disabled: after DisableJob had returned, and before
// any request that may enable it.
func (l *Log) CheckQuiet(job string, from, until time.Time) (found []Violation) {
	for i := range l.Entries {
		e := &l.Entries[i]
		if !e.Now.After(from) || !e.Now.Before(until) {
			continue
		}
		for _, ch := range e.Changes {
			if of, due, ok := fireOf(ch.id()); ok && of == job && ch.Before.ID == "" {
				text := fmt.Sprintf("job %s at %.3fs: a task of %d was inserted after DisableJob had returned", job,
					e.At.Seconds(), due)
				found = append(found, Violation{"jobs", []string{"jobs/" + job}, text})
			}
		}
	}
	return found
}

// CheckPunctual returns the jobs with due times that are undecided for longer than most at this instant. Due times that
// had passed when a late request enabled the job count from then on.
func (l *Log) CheckPunctual(at time.Time, most time.Duration) (found []Violation) {
	c := &jobChecker{jobs: map[string]*jobState{}}
	seen := map[string]bool{}
	for i := len(l.Entries) - 1; i >= 0; i-- { // the last state of each job
		e := &l.Entries[i]
		if id, ok := strings.CutPrefix(e.Doc, "jobs/"); ok && !e.Now.After(at) && !seen[id] {
			seen[id] = true
			c.write(*e, id)
		}
	}
	for id, j := range c.jobs {
		next := time.Unix(j.Created+((j.Done-j.Created)/j.every+1)*j.every, 0)
		from := next
		if j.enabled.After(next) {
			from = j.enabled
		}
		if late := at.Sub(from); !j.Disabled && late > most {
			text := fmt.Sprintf("job %s: its due time %d was not decided for %v", id, next.Unix(), late)
			found = append(found, Violation{"jobs", []string{"jobs/" + id}, text})
		}
	}
	return found
}
