package runtime

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/cron"
)

// A jobDoc is the document jobs/<id>. Instants are Unix seconds by the store's clock.
//
// A due time goes through it in two writes. The first decides, for all schedulers that may be at work: it raises Done
// past the due time and says in Pending what is to come of it, guarded by the document's revision. Then that is carried
// out, which may be repeated by anybody, since a fire's task has the due time in its id; the second write takes it from
// Pending.
type jobDoc struct {
	jobContent
	Created  int64    `json:"created"` // of this time table
	Disabled bool     `json:"disabled,omitempty"`
	Done     int64    `json:"done"`            // due times up to this one are decided
	Fired    int64    `json:"fired,omitempty"` // the last one of which came a task
	Pending  []firing `json:"owed,omitempty"`  // decided, and not known to be carried out
	Decided  int64    `json:"decided,omitempty"`
	Dropped  []firing `json:"dropped,omitempty"` // were pending when the job was disabled; see dropFires
	Live     []string `json:"live,omitempty"`    // tasks that may not have ended; not with OverlapAllow
	Held     int64    `json:"held,omitempty"`    // until then those of Live that don't exist are about to be inserted

	id       string
	revision int64
	clamped  bool      // an instant was stored that can't be
	read     time.Time // when it was so for certain; of schedulers
	table    cron.Schedule
	due      time.Time // the first of table after dueAfter; many jobs are asked for it each time one of them is due
	dueAfter int64
}

// A jobContent is what was asked for. Two programs ask for the same where it is equal.
type jobContent struct {
	Cron        string          `json:"cron"`
	Zone        string          `json:"zone,omitempty"`
	Queue       string          `json:"queue"`
	Payload     json.RawMessage `json:"payload"`
	Fingerprint string          `json:"fingerprint,omitempty"`
	Weight      int             `json:"weight"`
	Timeout     time.Duration   `json:"timeout,omitempty"`
	Allow       []string        `json:"allow,omitempty"`
	Missed      MissedPolicy    `json:"missed"`
	Window      time.Duration   `json:"window,omitempty"`
	Overlap     OverlapPolicy   `json:"overlap"`
	Declared    bool            `json:"declared,omitempty"`
}

// A firing is what is to come of a due time: a task, or nothing and a reason.
type firing struct {
	Due  int64  `json:"due"`
	Skip string `json:"skip,omitempty"`
	More int    `json:"more,omitempty"` // due times before it, skipped as well
}

const (
	jobDocs  = "jobs/"
	fireDocs = "fires/"

	onTime        = 30 * time.Second // a due time so late was not missed: a leader may have died
	defaultWindow = 24 * time.Hour
	maxMissed     = 1000 // due times that are made up for at once
	maxPending    = 1000 // due times that wait with OverlapQueue
	maxFires      = 200  // that are kept of a job
	maxLive       = 100
	maxJobName    = 200
	maxJobPayload = 64 << 10 // schedulers hold those of all jobs
	changeWithin  = time.Minute
)

// contentOf checks a spec and fills in its defaults.
func contentOf(s JobSpec) (jobContent, *Error) {
	o := s.Options
	c := jobContent{
		Cron: strings.Join(strings.Fields(s.Cron), " "), Zone: o.Zone, Queue: s.Worker.Name, Payload: s.Payload,
		Fingerprint: s.Worker.Payload, Weight: s.Worker.Weight, Timeout: o.Timeout, Missed: o.Missed, Window: o.Window,
		Overlap: o.Overlap, Declared: s.Declared,
	}
	wrong := func(format string, args ...any) (jobContent, *Error) {
		return c, Errorf(ErrInvalidArgument, "job %q: "+format, append([]any{s.ID}, args...)...).With(OutcomeNotSent)
	}
	var err error
	if c.Payload, err = json.Marshal(c.Payload); err != nil { // in the spelling in which it is read again
		return wrong("its payload: %w", err)
	}
	switch {
	case s.ID == "" || len(s.ID) > maxJobName || !utf8.ValidString(s.ID) || strings.ContainsFunc(s.ID, unicode.IsControl):
		return wrong("an id has 1 to %d bytes and no control characters", maxJobName)
	case c.Queue == "":
		return wrong("it has no queue")
	case len(c.Payload) > maxJobPayload:
		return c, Errorf(ErrResourceExhausted, "job %q: its payload is %d bytes; at most %d are allowed", s.ID,
			len(c.Payload), maxJobPayload).With(OutcomeNotSent)
	}
	if c.Zone == "UTC" {
		c.Zone = ""
	}
	zone, err := cron.Zone(c.Zone)
	if err != nil {
		return wrong("%w", err)
	}
	if _, err := cron.Parse(c.Cron, zone); err != nil {
		return wrong("cron %q: %w", c.Cron, err)
	}
	for _, text := range o.Allow {
		a, ok := backend.Allowance(text)
		if !ok {
			return wrong("%q is neither an ip nor a network", text)
		}
		c.Allow = append(c.Allow, a)
	}
	switch c.Missed {
	case "":
		c.Missed = MissedOnce
	case MissedSkip, MissedOnce, MissedAll:
	default:
		return wrong("there is no missed-run policy %q", c.Missed)
	}
	switch c.Overlap {
	case "":
		c.Overlap = OverlapAllow
	case OverlapSkip, OverlapAllow, OverlapQueue:
	default:
		return wrong("there is no overlap policy %q", c.Overlap)
	}
	switch {
	case c.Missed != MissedAll:
		c.Window = 0
	case c.Window == 0:
		c.Window = defaultWindow
	case c.Window < 0:
		return wrong("the window %v is negative", c.Window)
	}
	return c, nil
}

// replace makes j what was asked for, and says whether that changes anything.
func (j *jobDoc) replace(c jobContent, now time.Time) bool {
	if reflect.DeepEqual(j.jobContent, c) {
		return false
	}
	if j.Cron != c.Cron || j.Zone != c.Zone {
		decided := j.Done - now.Unix() // after now was read, unless the store's clock was wrong
		j.Created, j.Done = now.Unix(), now.Unix()
		if decided > 0 && decided <= int64(changeWithin/time.Second) {
			j.Done += decided
		}
	}
	j.jobContent = c
	return true
}

// readJobDoc reads a document.
func readJobDoc(d backend.Doc) (*jobDoc, error) {
	j := &jobDoc{id: strings.TrimPrefix(d.Name, jobDocs), revision: d.Revision}
	err := json.Unmarshal(d.Value, j)
	if err == nil {
		err = j.prepare()
	}
	if err != nil {
		return nil, Errorf(ErrDataLoss, "the document of job %q: %w", j.id, err)
	}
	return j, nil
}

// prepare brings the instants of a document into their range, and makes its time table.
func (j *jobDoc) prepare() error {
	j.clamp()
	zone, err := cron.Zone(j.Zone)
	if err != nil {
		return err
	}
	j.table, err = cron.Parse(j.Cron, zone)
	j.table = j.table.From(time.Unix(j.Created, 0))
	return err
}

// next is the next due time that is not decided; zero where none comes.
func (j *jobDoc) next() time.Time {
	if j.Disabled {
		return time.Time{}
	}
	if j.due.IsZero() || j.dueAfter != j.Done {
		j.due, j.dueAfter = j.table.Next(time.Unix(j.Done, 0)), j.Done
	}
	return j.due
}

// latest returns the latest due times after one instant and up to another, max at the most, oldest first, and the one
// before them; 0 where there is none.
func latest(table cron.Schedule, after, upTo time.Time, max int) (due []int64, before int64) {
	for span := int64(max); ; span *= 4 { // seconds: a Duration ends after 292 years
		from := time.Unix(upTo.Unix()-span, 0)
		whole := !from.After(after)
		if whole {
			from = after
		}
		due = due[:0]
		for t := table.Next(from); !t.IsZero() && !t.After(upTo); t = table.Next(t) {
			due = append(due, t.Unix())
		}
		if n := len(due) - max; n > 0 {
			return due[n:], due[n-1]
		}
		if whole {
			return due, 0
		}
	}
}

// decide decides what comes of the due times that have passed, and says whether there are any. live says that a task of
// an earlier one has not ended.
func (j *jobDoc) decide(now time.Time, live bool) bool {
	due, before := latest(j.table, time.Unix(j.Done, 0), now, maxMissed)
	if len(due) == 0 {
		return false
	}
	late := 0 // how many were missed
	for late < len(due) && due[late] < now.Add(-onTime).Unix() {
		late++
	}
	lost := late // how many of them come to nothing
	switch {
	case j.Missed == MissedAll:
		for lost = 0; lost < late && due[lost] < now.Add(-j.Window).Unix(); {
			lost++
		}
	case j.Missed == MissedOnce && late == len(due):
		lost--
	}
	var pending []firing
	if lost > 0 {
		pending = append(pending, firing{Due: due[lost-1], Skip: SkippedMissed, More: lost - 1})
	} else if before > 0 {
		pending = append(pending, firing{Due: before, Skip: SkippedMissed})
	}
	waiting := 0
	for _, f := range j.Pending {
		if f.Skip == "" {
			waiting++
		}
	}
	for _, d := range due[lost:] {
		skip := ""
		switch {
		case j.Overlap == OverlapSkip && (live || waiting > 0):
			skip = SkippedOverlap
		case waiting >= maxPending:
			skip = SkippedFull
		default:
			waiting++
			if j.Overlap != OverlapQueue { // else it may yet come to nothing
				j.Fired = d
			}
		}
		if n := len(pending); skip != "" && n > 0 && pending[n-1].Skip == skip {
			pending[n-1].Due, pending[n-1].More = d, pending[n-1].More+1
			continue
		}
		pending = append(pending, firing{Due: d, Skip: skip})
	}
	j.Pending = append(j.Pending, pending...)
	j.Done, j.Decided = due[len(due)-1], now.Unix()
	return true
}

// task is a task of the job.
func (j *jobDoc) task(id string) backend.NewTask {
	return backend.NewTask{Task: Task{
		ID: id, Queue: j.Queue, Status: backend.StatusPending, Weight: j.Weight, Payload: j.Payload,
		Fingerprint: j.Fingerprint, Timeout: j.Timeout, Allow: j.Allow,
	}}
}

// fireID is the id of a due time's task: one in the whole cluster.
func fireID(job string, due int64) string { return firePrefix + job + "/" + strconv.FormatInt(due, 10) }

// firePrefix begins the ids of tasks that jobs make.
const firePrefix = "job/"

// public is the job as users see it.
func (j *jobDoc) public() Job {
	out := Job{
		ID: j.id, Cron: j.Cron, Zone: j.Zone, Queue: j.Queue, Payload: j.Payload, Allow: j.Allow, Missed: j.Missed,
		Window: j.Window, Overlap: j.Overlap, Timeout: j.Timeout, Disabled: j.Disabled, Declared: j.Declared,
		Created: time.Unix(j.Created, 0).UTC(), Next: j.next(),
	}
	if out.Zone == "" {
		out.Zone = "UTC"
	}
	if j.Fired != 0 {
		out.Fired = time.Unix(j.Fired, 0).UTC()
	}
	for _, f := range j.Pending {
		if f.Skip == "" {
			out.Waiting++
		}
	}
	return out
}
