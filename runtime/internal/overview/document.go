package overview

import (
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// docName is the name of the document with the shared value. Its number rises if fields change their meaning, so that
// programs of different versions do not replace each other's document. A field that is added is unknown to older
// programs, which leave it out when it is their turn, so readers must do without it.
const docName = "gauges/1"

// maxName is the size in bytes of the largest name of a queue in the document, which bounds its size.
const maxName = 1024

// A document is what is stored. Its JSON names never change.
type document struct {
	Time      time.Time `json:"time"`      // when the value was read, by the store's clock; zero if there is none
	Taken     time.Time `json:"taken"`     // when an App began to replace the value; zero if none does
	Failed    string    `json:"failed"`    // why it could not: a code
	Instances int       `json:"instances"` // -1 if unknown
	Queues    []queue   `json:"queues"`
}

type queue struct {
	Name    string                 `json:"name"`
	Tasks   map[backend.Status]int `json:"tasks,omitempty"`
	Oldest  time.Duration          `json:"oldest,omitempty"` // in nanoseconds
	Paused  bool                   `json:"paused,omitempty"`
	Workers int                    `json:"workers"` // -1 if unknown
}

// unended are the statuses of tasks that have not ended.
var unended = []backend.Status{
	backend.StatusWaiting, backend.StatusPending, backend.StatusRunning, backend.StatusRetrying,
}

// newDocument returns a document with what was read at a time of the store's clock. Without known, the numbers of
// instances are unknown.
func newDocument(f *found, known bool, now time.Time) *document {
	d := &document{Time: now.Round(0).UTC(), Instances: len(f.present), Queues: []queue{}}
	if !known {
		d.Instances = -1
	}
	for _, q := range f.queues() {
		if len(d.Queues) == instrument.MaxSystemQueues {
			break
		}
		if len(q.Name) > maxName {
			continue
		}
		stored := queue{Name: q.Name, Paused: q.Limits.Paused, Workers: q.Workers}
		if !known {
			stored.Workers = -1
		}
		if !q.Oldest.IsZero() {
			stored.Oldest = max(now.Sub(q.Oldest), 0)
		}
		for _, status := range unended {
			if n := q.Counts[status].N; n > 0 {
				if stored.Tasks == nil {
					stored.Tasks = map[backend.Status]int{}
				}
				stored.Tasks[status] = n
			}
		}
		d.Queues = append(d.Queues, stored)
	}
	return d
}

// decode returns a stored document. If it can't be decoded it is an empty one, which is replaced.
func decode(value json.RawMessage) *document {
	var d document
	if json.Unmarshal(value, &d) != nil || len(d.Queues) > instrument.MaxSystemQueues {
		return &document{}
	}
	return &d
}

// system returns the value.
func (d *document) system() instrument.System {
	s := instrument.System{Time: d.Time, Instances: d.Instances, Queues: make([]instrument.SystemQueue, len(d.Queues))}
	for i, q := range d.Queues {
		s.Queues[i] = instrument.SystemQueue(q)
	}
	return s
}

// age returns how old the value is at a time of the store's clock. ok is false if there is none, or if the clock was
// set back since, so that its age is unknown.
func (d *document) age(now time.Time) (age time.Duration, ok bool) { return since(d.Time, now) }

// replacing reports whether an App is replacing the value, or has failed to, less than Every ago.
func (d *document) replacing(now time.Time) bool {
	age, ok := since(d.Taken, now)
	return ok && age < Every
}

// slack is how much the times that two processes get of the store's clock may differ.
const slack = 2 * time.Second

func since(t, now time.Time) (age time.Duration, ok bool) {
	if age = now.Sub(t); t.IsZero() || age < -slack {
		return 0, false
	}
	return max(age, 0), true
}
