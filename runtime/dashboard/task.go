package dashboard

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

// A taskPage is the data of the page of a task.
type taskPage struct {
	frame
	T       admin.Task
	Why     *whyPart
	Steps   []step
	Strip   template.HTML
	Values  []value
	Log     []string
	Follow  bool // the log grows
	Tree    *admin.TreePage
	Kids    kids
	Editing string // the payload to edit
	Final   bool
	Runs    bool // it may be made due now
}

// A whyPart is the explanation of a task as the page shows it.
type whyPart struct {
	Kind   string // of the badge
	Title  string
	Answer admin.Finding
	Help   []string
	Facts  []fact
	Also   []admin.Finding
	Ways   []way
}

// A fact is a line of a list of properties.
type fact struct {
	Name string
	HTML template.HTML
}

// A way is a link or a form that would help.
type way struct {
	Text   string
	Link   string // a page
	Post   string // or the action of a form
	Danger bool
}

// A step is an entry of the timeline.
type step struct {
	Kind     string // of the badge
	Title    string
	At       time.Time
	Took     string
	Waited   string // before it
	Instance string
	IP       string
	Code     af.Code
	Message  string
	Trace    string // the traceparent of the attempt
	Future   bool
}

// A value is a JSON value of a task.
type value struct {
	Title    string
	Name     string // of the part to download
	HTML     template.HTML
	Cut      bool
	Size     int
	Detail   string    // the type of an error's detail
	At       time.Time // when it was reported; zero if unknown
	Download bool
}

// kids are the numbers of subtasks.
type kids struct {
	Total   string
	Done    int // percent
	Parts   []part
	Counted bool
}

// A part is a number of tasks of one status.
type part struct {
	Status af.Status
	N      af.Count
	X, W   float64 // of its bar, in percent
}

// Text returns the number.
func (p part) Text() string { return counted(p.N) }

// statuses are all statuses, in the order in which pages list them.
var statuses = []af.Status{af.StatusRunning, af.StatusPending, af.StatusWaiting, af.StatusRetrying, af.StatusSuccess,
	af.StatusFailed, af.StatusStopped}

func (s *server) task(v *viewer, w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	t, err := v.api.Task(r.Context(), id)
	if af.CodeOf(err) == af.ErrNotFound {
		return s.failWith(w, v.user, http.StatusNotFound, "There is no task with the id "+clean(id)+
			". Tasks that have ended are deleted after their retention.")
	}
	if err != nil {
		return err
	}
	p := taskPage{T: t, Steps: stepsOf(&t.Task, v.now), Strip: strip(&t.Task, v.now), Log: t.Log,
		Final: t.Status.Final(), Follow: t.Status == af.StatusRunning && v.Can("Logs")}
	p.frame = frame{viewer: v, Title: statusTitle(t.Status) + id, Nav: "tasks", Watch: id, Done: doneText(r)}
	p.Runs = !p.Final && t.Status != af.StatusRunning && !t.Gated && !t.Uncommitted && t.RunAt.After(v.now)
	if t.Why != nil {
		p.Why = v.why(&t)
	}
	if s.redact == nil {
		p.Editing = indented(t.Payload)
	}
	p.values()
	if t.Spawned || t.Subtasks != nil {
		tree, err := v.api.Tree(r.Context(), admin.TreeQuery{ID: id, Limit: 50, Cursor: r.URL.Query().Get("tree")})
		if err != nil {
			return err
		}
		p.Tree, p.Kids = &tree, kidsOf(t.Children)
	}
	return s.render(w, http.StatusOK, "task", &p)
}

// values collects the JSON values of the task.
func (p *taskPage) values() {
	t := &p.T
	add := func(x value, raw json.RawMessage) {
		if len(raw) == 0 {
			return
		}
		x.HTML, x.Cut = jsonTree(raw)
		x.Size, x.Download = len(raw), x.Name != ""
		p.Values = append(p.Values, x)
	}
	if t.Status == af.StatusRunning || len(t.Result) == 0 {
		add(value{Title: "Progress", Name: "progress", At: t.Progressed}, t.Progress)
	}
	add(value{Title: "Result", Name: "result"}, t.Result)
	add(value{Title: "Payload", Name: "payload"}, t.Payload)
	if t.Error != nil {
		for _, d := range t.Error.Details {
			add(value{Title: "Error detail", Detail: d.Type}, d.Value)
		}
	}
}

// taskPart serves a value of a task as a file.
func (s *server) taskPart(v *viewer, w http.ResponseWriter, r *http.Request) error {
	t, err := v.api.Task(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	part := lastElement(r)
	body, ok := map[string][]byte{"payload": t.Payload, "result": t.Result, "progress": t.Progress}[part]
	if !ok || len(body) == 0 {
		return af.NewError(af.ErrNotFound, "The task has no such part.")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="`+part+`.json"`)
	_, _ = w.Write(body)
	return nil
}

func lastElement(r *http.Request) string {
	return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
}

// stepsOf returns the timeline of a task.
func stepsOf(t *af.Task, now time.Time) []step {
	steps := []step{{Kind: "waiting", Title: "Submitted", At: t.Created}}
	if t.RetryOf != "" {
		steps[0].Title = "Submitted as a retry"
	} else if t.Source != "" {
		steps[0].Title = "Submitted as a subtask"
	}
	last := t.Created
	if t.RunAt.After(last) && len(t.Attempts) == 0 && t.Status != af.StatusRetrying {
		last = t.RunAt
	}
	if len(t.Attempts) > 0 && t.Attempts[0].Fence > 1 {
		n := t.Attempts[0].Fence - 1
		steps = append(steps, step{Kind: "waiting", Title: plural(int(n), "earlier attempt") + " not kept"})
	}
	for _, a := range t.Attempts {
		s := step{Kind: string(a.Outcome), At: a.Started, Took: took(a.Ended.Sub(a.Started)), Instance: a.Instance,
			IP: a.IP, Code: a.Code, Message: a.Message, Trace: a.Trace,
			Title: "Attempt " + strconv.Itoa(a.Attempt) + " " + outcomeWord(a.Outcome)}
		if d := a.Started.Sub(last); d >= time.Second {
			s.Waited = took(d)
		}
		steps, last = append(steps, s), a.Ended
	}
	switch {
	case t.Status == af.StatusRunning:
		s := step{Kind: "running", Title: "Attempt " + strconv.Itoa(t.Attempt) + " running", At: t.Started,
			Took: took(now.Sub(t.Started)), Instance: t.Instance, IP: t.IP}
		if t.Stopping {
			s.Kind, s.Title = "stopping", "Attempt "+strconv.Itoa(t.Attempt)+" stopping"
		}
		if d := t.Started.Sub(last); d >= time.Second {
			s.Waited = took(d)
		}
		steps = append(steps, s)
	case !t.Status.Final() && t.RunAt.After(now):
		title := "Due"
		if t.Status == af.StatusRetrying {
			title = "Next attempt"
		}
		steps = append(steps, step{Kind: "retrying", Title: title, At: t.RunAt, Future: true})
	case t.Status.Final() && len(t.Attempts) == 0:
		s := step{Kind: string(t.Status), Title: "Ended without an attempt", At: t.Ended}
		if t.Error != nil {
			s.Code, s.Message = t.Error.Code, t.Error.Message
		}
		steps = append(steps, s)
	}
	if c := t.Subtasks; c != nil {
		kind := "success"
		if c.Failed > 0 {
			kind = "failed"
		}
		steps = append(steps, step{Kind: kind, Title: plural(c.Total, "subtask") + " ended", At: c.Finished})
	}
	return steps
}

func outcomeWord(o af.AttemptOutcome) string {
	switch o {
	case af.AttemptSucceeded:
		return "succeeded"
	case af.AttemptReturned:
		return "returned, not charged"
	case af.AttemptLost:
		return "lost: its process died"
	}
	return string(o)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(int64(n)) + " " + noun + "s"
}

// statusTitle returns a status as the beginning of a title, so that it is seen in the list of a browser's tabs.
func statusTitle(s af.Status) string {
	if s == "" {
		return "Task "
	}
	return strings.ToUpper(string(s[:1])) + string(s[1:]) + ": task "
}

func kidsOf(counts map[af.Status]af.Count) kids {
	k := kids{}
	total, ended, more := 0, 0, false
	for _, s := range statuses {
		n := counts[s]
		if n.N == 0 {
			continue
		}
		total += n.N
		more = more || n.AtLeast
		if s.Final() {
			ended += n.N
		}
		k.Parts = append(k.Parts, part{Status: s, N: n})
	}
	x := 0.0
	for i := range k.Parts {
		k.Parts[i].X, k.Parts[i].W = x, float64(k.Parts[i].N.N)/float64(total)*100
		x += k.Parts[i].W
	}
	if total > 0 {
		k.Done = ended * 100 / total
	}
	k.Total, k.Counted = counted(af.Count{N: total, AtLeast: more}), total > 0
	return k
}

// indented returns JSON as it is edited, or "" if it is too large for that.
func indented(raw json.RawMessage) string {
	if len(raw) == 0 || len(raw) > maxEdited {
		return ""
	}
	if indentedSize(raw) > maxEdited { // deep, so that it would be mostly spaces
		return visibleJSON(raw)
	}
	text, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return visibleJSON(raw)
	}
	return visibleJSON(text)
}

const maxEdited = 256 << 10 // bytes of a payload that is edited in a page

// indentedSize returns about how many bytes a JSON text has when it is indented.
func indentedSize(raw []byte) int {
	size, depth, quoted := len(raw), 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
			size += 1 + 2*depth
		case c == '}', c == ']':
			depth--
			size += 1 + 2*depth
		case c == ',':
			size += 1 + 2*depth
		}
	}
	return size
}

// changeTask stops, retries, runs, deletes or reweighs a task.
func (s *server) changeTask(v *viewer, w http.ResponseWriter, r *http.Request) error {
	id, ctx := r.PathValue("id"), r.Context()
	a := admin.Action{Reason: strings.TrimSpace(r.PostForm.Get("reason"))}
	done := lastElement(r)
	var err error
	switch done {
	case "stop":
		err = v.api.Stop(ctx, id, a)
	case "run":
		err = v.api.RunNow(ctx, id, a)
	case "delete":
		err = v.api.Delete(ctx, id, a)
	case "reweigh":
		weight, bad := strconv.Atoi(r.PostForm.Get("weight"))
		if bad != nil {
			return af.NewError(af.ErrInvalidArgument, "The weight must be a whole number.")
		}
		err = v.api.Reweigh(ctx, id, weight, a)
	case "retry":
		retry := admin.Retry{ID: id, Replace: r.PostForm.Get("replace") != ""}
		if payload := strings.TrimSpace(r.PostForm.Get("payload")); payload != "" {
			retry.Payload = json.RawMessage(payload)
		}
		id, err = v.api.Retry(ctx, retry, a)
	}
	if err != nil {
		return &changeError{err, s.link("tasks", r.PathValue("id"))}
	}
	to := s.link("tasks", id)
	if done == "delete" {
		to = s.link("tasks")
	}
	http.Redirect(w, r, to+"?done="+done, http.StatusSeeOther)
	return nil
}

// A changeError is the error of a change, and the page from which it was made.
type changeError struct {
	error
	back string
}

func (e *changeError) Unwrap() error { return e.error }

// backOf returns the page to go back to after an error, or "".
func backOf(err error) string {
	if e, ok := errors.AsType[*changeError](err); ok {
		return e.back
	}
	return ""
}

// doneText returns what the last request has changed, in words.
func doneText(r *http.Request) string {
	return map[string]string{
		"stop":    "The stop is requested. A running handler ends when it sees its context end.",
		"retry":   "This is the new task. It retries the earlier one.",
		"run":     "The task is due now.",
		"delete":  "The task is deleted.",
		"reweigh": "The weight is changed.",
		"pause":   "The queue is paused. Running tasks finish.",
		"resume":  "The queue is resumed.",

		"pause-all":  "All queues are paused. Running tasks finish.",
		"resume-all": "All queues are resumed.",

		"max":     "The limit is stored. Instances apply it within seconds.",
		"default": "The limits are removed. Each worker applies its own maximum again.",
		"submit":  "The task is submitted.",
		"fire":    "This is the task of the job that was run.",
		"enable":  "The job is enabled.",
		"disable": "The job is disabled. It does not fire until it is enabled.",
	}[r.URL.Query().Get("done")]
}

// Command returns the command that shows the task.
func (p *taskPage) Command() string { return "af get " + shellWord(p.T.ID) }

// JSON returns the address of the task in the JSON API.
func (p *taskPage) JSON() string {
	return p.prefix + adminhttp.Prefix + "task?" + url.Values{"id": {p.T.ID}}.Encode()
}

// MostAttempts returns how many attempts are made at most.
func (p *taskPage) MostAttempts() int { return *p.T.Retries + 1 }

// TraceID returns the id of the task's trace, or "".
func (p *taskPage) TraceID() string { return traceID(p.T.Trace) }
