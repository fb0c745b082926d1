package dashboard

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/cron"
)

const (
	jobsOnPage  = 100
	firesOnPage = 50
	nextTimes   = 5
)

// A jobsPage is the data of the list of jobs.
type jobsPage struct {
	frame
	Page        af.JobPage
	Jobs        []jobRow
	First, Next string // links to pages of the list
}

// A jobRow is a job with what the pages conclude from it.
type jobRow struct {
	af.Job
	Words       string // its timetable in words, "" if that is not simple
	Kind, State string // of its badge
}

func jobRowOf(j af.Job) jobRow {
	r := jobRow{Job: j, Words: cronWords(j.Cron), Kind: "ok", State: "enabled"}
	switch {
	case j.Disabled:
		r.Kind, r.State = "paused", "disabled"
	case j.Next.IsZero():
		r.Kind, r.State = "stopped", "never due"
	}
	return r
}

// ZoneName returns the zone of the job's timetable.
func (j jobRow) ZoneName() string {
	if j.Zone == "" {
		return "UTC"
	}
	return j.Zone
}

func (s *server) jobs(v *viewer, w http.ResponseWriter, r *http.Request) error {
	cursor := r.URL.Query().Get("c")
	page, err := v.api.Jobs(r.Context(), af.JobQuery{Limit: jobsOnPage, Cursor: cursor})
	if err != nil {
		return err
	}
	p := jobsPage{Page: page}
	p.frame = frame{viewer: v, Title: "Jobs", Nav: "jobs", Done: doneText(r)}
	for i := range page.Jobs {
		p.Jobs = append(p.Jobs, jobRowOf(page.Jobs[i]))
	}
	p.First, p.Next = pageLinks(s.link("jobs"), nil, cursor, page.Cursor)
	return s.render(w, http.StatusOK, "jobs", &p)
}

// pageLinks returns the links to the first page of a list, unless it is shown, and to the next one, if there is one.
func pageLinks(path string, query url.Values, cursor, next string) (first, following string) {
	to := func(cursor string) string {
		q := url.Values{}
		for k, values := range query {
			q[k] = values
		}
		if cursor != "" {
			q.Set("c", cursor)
		}
		if len(q) == 0 {
			return path
		}
		return path + "?" + q.Encode()
	}
	if cursor != "" {
		first = to("")
	}
	if next != "" {
		following = to(next)
	}
	return first, following
}

// A jobPage is the data of the page of a job.
type jobPage struct {
	frame
	J               jobRow
	Times           []zonedTime // when it is due next
	Fires           []fireRow
	Total           int
	Missing         []string
	Payload         template.HTML
	PayloadCut      bool
	Missed, Overlap string // its policies in words
	First, Next     string // links to pages of its fires
}

// A zonedTime is a time as the clocks of the job's zone show it.
type zonedTime struct {
	At   time.Time
	Text string
}

// A fireRow is a fire as the page shows it.
type fireRow struct {
	af.Fire
	Due  string // by the clocks of the job's zone, "" for a manual run
	Skip string // why it was skipped, in words
}

func (s *server) job(v *viewer, w http.ResponseWriter, r *http.Request) error {
	id, ctx := r.PathValue("job"), r.Context()
	j, err := v.api.Job(ctx, id)
	if af.CodeOf(err) == af.ErrNotFound {
		return s.failWith(w, v.user, http.StatusNotFound, "There is no job with the id "+clean(id)+
			". Programs add jobs with PutJob, Schedule or an af:schedule directive.")
	}
	if err != nil {
		return err
	}
	p := jobPage{J: jobRowOf(j), Missed: missedWords[j.Missed], Overlap: overlapWords[j.Overlap]}
	p.frame = frame{viewer: v, Title: "Job " + id, Nav: "jobs", Done: doneText(r)}
	zone, err := cron.Zone(j.Zone)
	if err != nil { // of a machine that knows more zones
		p.Missing = append(p.Missing, "Times are in UTC: "+err.Error())
		zone = time.UTC
	}
	p.times(zone)
	if len(j.Payload) > 0 {
		p.Payload, p.PayloadCut = jsonTree(j.Payload)
	}
	cursor := r.URL.Query().Get("c")
	fires, err := v.api.Fires(ctx, af.FireQuery{Job: id, Limit: firesOnPage, Cursor: cursor})
	if err != nil {
		p.Missing = append(p.Missing, "The fires could not be read: "+messageOf(err))
	}
	p.Total = fires.Total
	p.First, p.Next = pageLinks(s.link("jobs", id), nil, cursor, fires.Cursor)
	for _, f := range fires.Fires {
		row := fireRow{Fire: f, Skip: admin.SkipReason(&f)}
		if !f.Due.IsZero() {
			row.Due = zoned(f.Due, zone)
		}
		p.Fires = append(p.Fires, row)
	}
	return s.render(w, http.StatusOK, "job", &p)
}

// times sets when the job is due next, or would be if it were enabled.
func (p *jobPage) times(zone *time.Location) {
	schedule, err := cron.Parse(p.J.Cron, zone)
	if err != nil { // of a version that knows more
		p.Missing = append(p.Missing, "The next times are unknown: "+err.Error())
		return
	}
	schedule = schedule.From(p.J.Created)
	at := p.J.Next
	if at.IsZero() {
		at = schedule.Next(p.now)
	}
	for ; len(p.Times) < nextTimes && !at.IsZero(); at = schedule.Next(at) {
		p.Times = append(p.Times, zonedTime{at, zoned(at, zone)})
	}
}

func zoned(t time.Time, zone *time.Location) string {
	return t.In(zone).Format("Mon 2006-01-02 15:04:05 MST")
}

// TasksOf returns the path of the tasks of the page's job.
func (p *jobPage) TasksOf() string {
	return p.TasksLink("queue:" + quoted(p.J.Queue) + " id:" + quoted("job/"+p.J.ID+"/"))
}

var missedWords = map[af.MissedPolicy]string{
	af.MissedSkip: "skipped", af.MissedOnce: "one task for all of them", af.MissedAll: "a task for each",
}

var overlapWords = map[af.OverlapPolicy]string{
	af.OverlapSkip: "skipped", af.OverlapAllow: "runs at the same time", af.OverlapQueue: "waits for its end",
}

// changeJob runs, enables or disables a job.
func (s *server) changeJob(v *viewer, w http.ResponseWriter, r *http.Request) error {
	id, ctx := r.PathValue("job"), r.Context()
	a := admin.Action{Reason: strings.TrimSpace(r.PostForm.Get("reason"))}
	done := lastElement(r)
	to := s.link("jobs", id)
	var err error
	switch done {
	case "fire":
		var task string
		if task, err = v.api.RunJob(ctx, id, a); err == nil {
			to = s.link("tasks", task)
		}
	case "enable":
		err = v.api.EnableJob(ctx, id, a)
	case "disable":
		err = v.api.DisableJob(ctx, id, a)
	}
	if err != nil {
		return &changeError{err, s.link("jobs", id)}
	}
	http.Redirect(w, r, to+"?done="+done, http.StatusSeeOther)
	return nil
}
