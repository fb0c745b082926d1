package jobs

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/cron"
)

// A Document is the document jobs/<id>: a job and its progress. Instants are Unix seconds of the store's clock. The
// package comment describes how a due time changes it.
type Document struct {
	Content
	Created  int64    `json:"created"` // when this time table was set
	Disabled bool     `json:"disabled,omitempty"`
	Done     int64    `json:"done"`              // due times until here are decided
	Fired    int64    `json:"fired,omitempty"`   // the last due time with a task
	Pending  []Firing `json:"owed,omitempty"`    // decided, but maybe not carried out
	Decided  int64    `json:"decided,omitempty"` // when Pending was last extended
	Dropped  []Firing `json:"dropped,omitempty"` // pending when the job was disabled; see [Catalog.Disable]
	Late     []Firing `json:"late,omitempty"`    // carried out late, with Ended; see [Catalog.Purgeable]
	Live     []string `json:"live,omitempty"`    // tasks that may not have ended; unused with OverlapAllow
	Held     int64    `json:"held,omitempty"`    // until then, missing tasks of Live may be about to be inserted
	Change            // the last one of Content or Disabled

	id       string
	revision int64     // 0 if the job is not stored
	clamped  bool      // an impossible instant was stored
	read     time.Time // when the scheduler began to read it
	table    cron.Schedule
	due      time.Time // cache of Next: the first due time after dueAfter
	dueAfter int64
}

// A Change is who changed a job and why. Versions that don't know it drop it when they write the document.
type Change struct {
	Action
	Changed int64 `json:"changed,omitempty"` // when; 0 if it isn't known
}

// An Action is who changes a job and why. Both may be empty.
type Action struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// change records a change of the job.
func (j *Document) change(a Action, now time.Time) { j.Change = Change{a, now.Unix()} }

// A Firing is the result of a due time: a task, or a reason to skip it.
type Firing struct {
	Due  int64  `json:"due"`
	Skip string `json:"skip,omitempty"` // why there is no task
	More int    `json:"more,omitempty"` // number of earlier due times skipped with it
	// Ended is when the task was known to have ended, and 0 if it isn't known. Its task may have been deleted since, so it
	// must not be inserted again. In Late it is when the fire was carried out. See [Catalog.Purgeable].
	Ended int64 `json:"ended,omitempty"`
	// Sent is set if the job got OverlapQueue after this was decided. Its task may be being submitted, although others wait
	// before it.
	Sent bool `json:"sent,omitempty"`
}

// open reports whether a pending fire's task may have to be inserted, or may not have ended.
func (f *Firing) open() bool { return f.Skip == "" && f.Ended == 0 }

// Reasons to skip due times.
const (
	SkippedMissed  = "missed"
	SkippedOverlap = "overlap"
	SkippedFull    = "queue full"
)

const (
	docPrefix = "jobs/" // of document names

	onTime       = 30 * time.Second // a due time decided later counts as missed; a leader may have died meanwhile
	maxMissed    = 1000             // due times decided at once
	maxPending   = 1000             // due times waiting with OverlapQueue
	maxLive      = 100
	changeWithin = time.Minute // how far Done may be ahead of a concurrent change

	maxAhead     = time.Hour    // instants farther ahead were written with a wrong clock
	latestSecond = 253402300799 // of the year 9999
)

// replace sets the content of a job and reports whether it changed. A new time table begins now.
func (j *Document) replace(c Content, now time.Time) bool {
	if reflect.DeepEqual(j.Content, c) {
		return false
	}
	if j.Cron != c.Cron || j.Zone != c.Zone {
		// positive if a due time was decided after now was read, or the store's clock was wrong
		decided := j.Done - now.Unix()
		j.Created, j.Done = now.Unix(), now.Unix()
		if decided > 0 && decided <= int64(changeWithin/time.Second) {
			j.Done += decided
		}
	}
	if c.Overlap == OverlapQueue && j.Overlap != OverlapQueue {
		for i := range j.Pending {
			j.Pending[i].Sent = j.Pending[i].open()
		}
	}
	j.Content = c
	return true
}

// current returns a stored job: known, which may be nil, if its revision has not changed, and otherwise the decoded
// document.
func current(d backend.Doc, known *Document) (*Document, error) {
	if known != nil && known.revision == d.Revision {
		return known, nil
	}
	return decodeDocument(d)
}

// decodeDocument decodes a stored job. It corrects impossible instants; other errors are ErrDataLoss.
func decodeDocument(d backend.Doc) (*Document, error) {
	j := &Document{id: strings.TrimPrefix(d.Name, docPrefix), revision: d.Revision}
	err := json.Unmarshal(d.Value, j)
	if err == nil {
		err = j.prepare()
	}
	if err != nil {
		return nil, backend.Errorf(backend.ErrDataLoss, "decoding job %q: %w", j.id, err)
	}
	return j, nil
}

// prepare corrects the instants of a document and parses its time table.
func (j *Document) prepare() error {
	j.clamp()
	zone, err := cron.Zone(j.Zone)
	if err != nil {
		return err
	}
	j.table, err = cron.Parse(j.Cron, zone)
	j.table = j.table.From(time.Unix(j.Created, 0))
	return err
}

// Next returns the first undecided due time, or the zero time if there is none or the job is disabled. It caches the
// result in j and isn't safe for concurrent use.
func (j *Document) Next() time.Time {
	if j.Disabled {
		return time.Time{}
	}
	if j.due.IsZero() || j.dueAfter != j.Done {
		j.due, j.dueAfter = j.table.Next(time.Unix(j.Done, 0)), j.Done
	}
	return j.due
}

// latest returns the latest due times in (after, upTo], at most max, oldest first. before is the due time before
// them, or 0.
func latest(table cron.Schedule, after, upTo time.Time, max int) (due []int64, before int64) {
	for span := int64(max); ; span *= 4 { // in seconds: a Duration ends after 292 years
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

// decide adds the results of passed due times to Pending and reports whether there are any. live reports whether the
// task of an earlier due time is still running.
func (j *Document) decide(now time.Time, live bool) bool {
	due, before := latest(j.table, time.Unix(j.Done, 0), now, maxMissed)
	if len(due) == 0 {
		return false
	}
	late := 0 // number of missed due times
	for late < len(due) && due[late] < now.Add(-onTime).Unix() {
		late++
	}
	lost := late // how many of them are skipped
	switch {
	case j.Missed == MissedAll:
		for lost = 0; lost < late && due[lost] < now.Add(-j.Window).Unix(); {
			lost++
		}
	case j.Missed == MissedOnce && late == len(due):
		lost--
	}
	var pending []Firing
	if lost > 0 {
		pending = append(pending, Firing{Due: due[lost-1], Skip: SkippedMissed, More: lost - 1})
	} else if before > 0 {
		pending = append(pending, Firing{Due: before, Skip: SkippedMissed})
	}
	waiting := j.Waiting()
	for _, d := range due[lost:] {
		skip := ""
		switch {
		case j.Overlap == OverlapSkip && (live || waiting > 0):
			skip = SkippedOverlap
		case waiting >= maxPending:
			skip = SkippedFull
		default:
			waiting++
			if j.Overlap != OverlapQueue { // a queued one may still be dropped
				j.Fired = d
			}
		}
		if n := len(pending); skip != "" && n > 0 && pending[n-1].Skip == skip {
			pending[n-1].Due, pending[n-1].More = d, pending[n-1].More+1
			continue
		}
		pending = append(pending, Firing{Due: d, Skip: skip})
	}
	j.Pending = append(j.Pending, pending...)
	j.Done, j.Decided = due[len(due)-1], now.Unix()
	return true
}

// task returns a task of the job.
func (j *Document) task(id string) backend.NewTask {
	return backend.NewTask{Task: backend.Task{
		ID: id, Queue: j.Queue, Status: backend.StatusPending, Weight: j.Weight, Payload: j.Payload,
		Fingerprint: j.Fingerprint, Timeout: j.Timeout, Retries: j.Retries, Allow: j.Allow, Metadata: j.Metadata,
	}}
}

// ahead reports whether a job's instants are so far ahead that they were written with a wrong clock; the job would
// not fire until then. If they are less far ahead, the job waits for the clock to catch up, so that nothing fires
// twice.
func (j *Document) ahead(now time.Time) bool {
	return max(j.Created, j.Done, j.Decided, j.Held) > now.Add(maxAhead).Unix()
}

// rewind makes a job continue from now.
func (j *Document) rewind(now time.Time) {
	for _, at := range []*int64{&j.Created, &j.Done, &j.Decided, &j.Held} {
		*at = min(*at, now.Unix())
	}
	j.table = j.table.From(time.Unix(j.Created, 0))
	j.due = time.Time{}
}

// clamp limits all instants to the range in which schedules are defined.
func (j *Document) clamp() {
	instants := []*int64{&j.Created, &j.Done, &j.Fired, &j.Decided, &j.Held, &j.Changed}
	for _, list := range [][]Firing{j.Pending, j.Dropped, j.Late} {
		for i := range list {
			instants = append(instants, &list[i].Due, &list[i].Ended)
		}
	}
	for _, at := range instants {
		if in := min(max(*at, 0), latestSecond); in != *at {
			*at, j.clamped = in, true
		}
	}
}

// addLive adds running tasks.
func (j *Document) addLive(ids ...string) {
	j.Live = append(j.Live, ids...)
	j.Live = j.Live[max(0, len(j.Live)-maxLive):]
}

// ID returns the id of the job.
func (j *Document) ID() string { return j.id }

// Waiting returns how many pending due times will submit a task.
func (j *Document) Waiting() (n int) {
	for _, f := range j.Pending {
		if f.open() {
			n++
		}
	}
	return n
}
