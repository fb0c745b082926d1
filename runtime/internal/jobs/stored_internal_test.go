package jobs

import (
	"encoding/json"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// Programs of several versions share the documents, so decoding and encoding must not change them.
func TestStoredFormIsStable(t *testing.T) {
	const job = `{"cron":"*/5 * * * *","zone":"Europe/Berlin","queue":"q","payload":{"n":1},"fingerprint":"f",` +
		`"weight":2,"timeout":3000000000,` +
		`"allow":["10.0.0.0/8"],"missed":"all","window":86400000000000,"overlap":"queue","declared":true,` +
		`"created":1700000000,"disabled":true,` +
		`"done":1700000300,"fired":1700000100,"owed":[{"due":1700000200,"ended":1700000290},{"due":1700000300,"skip":"queue full","more":4}],` +
		`"decided":1700000301,` +
		`"dropped":[{"due":1700000000,"sent":true}],"late":[{"due":1700000100,"ended":1700000295}],"live":["job/j/1700000100"],"held":1700000400}`
	const least = `{"cron":"@daily","queue":"q","payload":null,"weight":1,"missed":"once","overlap":"allow",` +
		`"created":1,"done":1}`
	for name, text := range map[string]string{"all": job, "least": least} {
		t.Run(name, func(t *testing.T) {
			j, err := decodeDocument(backend.Doc{Name: docPrefix + "j", Revision: 7, Value: json.RawMessage(text)})
			if err != nil {
				t.Fatal(err)
			}
			if out, err := json.Marshal(j); err != nil || string(out) != text {
				t.Errorf("written as %s, %v", out, err)
			}
			if j.ID() != "j" || j.clamped {
				t.Errorf("id %q, clamped %v", j.ID(), j.clamped)
			}
		})
	}
	const fires = `{"n":3,"fires":[{"due":60,"n":1,"at":61},{"due":120,"skip":"missed","more":4,"n":2,"at":121},` +
		`{"due":0,"n":3,"at":130,"task":"job/j/run-1"}]}`
	h, err := DecodeHistory("j", []byte(fires))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := json.Marshal(h); err != nil || string(out) != fires {
		t.Errorf("written as %s, %v", out, err)
	}
}

// Of a task that is not of a fire, PrepareDelete asks neither the store nor the documents.
func TestOtherTasksAreDeletedUnasked(t *testing.T) {
	type noStore struct{ Store }
	type noDocs struct{ backend.Docs }
	c, _ := New(Config{Store: noStore{}, Docs: noDocs{}}, nil)
	for _, id := range []string{"", "x", "job/", "job/j", "job/j/", "job/j/run-ID", "job/j/retry-ID", "job/j/060"} {
		if err := c.PrepareDelete(t.Context(), id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestJobOfTask(t *testing.T) {
	for id, want := range map[string]string{
		FireID("a/b", 60):      "a/b",
		FireID("", 60):         "",
		RetryID("a", "ID"):     "a",
		runID("a/run-b", "ID"): "a/run-b",
	} {
		if job, ok := JobOf(id); !ok || job != want {
			t.Errorf("%s: %q, %v", id, job, ok)
		}
	}
	if _, ok := JobOf("jobs/a/60"); ok {
		t.Error("a task without the prefix has a job")
	}
}
