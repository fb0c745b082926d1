package fault

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A late request stores a removed job again, with its earlier due times. The task of one may still live, so that later
// ones are skipped, or have ended, so that they may not be.
func TestTaskOfRemovedJobCounts(t *testing.T) {
	begun := time.Unix(1_000_000, 0)
	doc := func(after time.Duration, name, value string) Entry {
		e := Entry{Now: begun.Add(after), Op: "Docs.PutIf", Doc: name}
		if value != "" {
			e.Value = json.RawMessage(value)
		}
		return e
	}
	job := func(after time.Duration, fields string) Entry {
		return doc(after, "jobs/j", `{"cron":"@every 7s","overlap":"skip","missed":"all","created":1000000,`+fields+`}`)
	}
	task := func(after time.Duration, from, to backend.Status) Entry {
		c := Change{After: backend.Task{ID: "job/j/1000007", Status: to}}
		if from != "" {
			c.Before = backend.Task{ID: c.After.ID, Status: from}
		}
		return Entry{Now: begun.Add(after), Changes: []Change{c}}
	}
	for _, ended := range []bool{false, true} {
		log := []Entry{
			job(0, `"done":1000000`),
			job(7*time.Second, `"done":1000007,"owed":[{"due":1000007}]`),
			task(7*time.Second, "", backend.StatusWaiting),
			job(7*time.Second, `"done":1000007`),
			doc(8*time.Second, "jobs/j", ""),
			job(9*time.Second, `"done":1000000`),
			job(10*time.Second, `"done":1000007,"owed":[{"due":1000007}]`),
			job(10*time.Second, `"done":1000007`),
		}
		at := 14 * time.Second
		if ended {
			log = append(log, task(11*time.Second, backend.StatusWaiting, backend.StatusSuccess))
			at = 2 * time.Minute
		}
		log = append(log, job(at, `"done":1000014,"owed":[{"due":1000014,"skip":"overlap"}]`))
		if found := NewLog(log).CheckJobs(); (len(found) > 0) != ended {
			t.Errorf("ended %v: %v", ended, found)
		}
	}
}
