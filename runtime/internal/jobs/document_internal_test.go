package jobs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// FuzzJobDoc stores arbitrary job documents. Each is refused, or its next due time is later than the decided ones,
// decide takes bounded time and space, and encoding round-trips.
func FuzzJobDoc(f *testing.F) {
	const job = `{"cron":"*/5 * * * *","queue":"q","payload":1,"weight":1,"missed":"all","window":86400000000000,` +
		`"overlap":"queue"`
	for _, seed := range []string{
		job + `,"created":1,"done":-62135596800}`,
		job + `,"created":9223372036854775807,"done":-9223372036854775808,"held":-1,"decided":99999999999999}`,
		job + `,"done":1700000000,"owed":[{"due":1,"skip":"missed","more":3},{"due":-5}],"dropped":[{"due":7}],` +
			`"live":["a","b"],"fired":5}`,
		`{"cron":"@every 1000000h","queue":"q","created":-1,"done":5}`,
		`{"cron":"0 0 29 2 1","zone":"Europe/Berlin","disabled":true}`,
		`{"cron":"* * * * * *","zone":"Nowhere","done":1}`,
		`{}`, `null`, `[]`, `{"owed":null,"done":1e30}`,
	} {
		f.Add([]byte(seed), int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, value []byte, second int64) {
		j, err := decodeDocument(backend.Doc{Name: docPrefix + "j", Revision: 1, Value: value})
		if err != nil {
			if backend.CodeOf(err) != backend.ErrDataLoss {
				t.Errorf("refused with %v", err)
			}
			return
		}
		now := time.Unix(min(max(second, 0), latestSecond), 0)
		if j.ahead(now) {
			j.rewind(now)
		}
		if j.ahead(now) {
			t.Error("ahead after it was rewound")
		}
		if next := j.Next(); !next.IsZero() && next.Unix() <= j.Done {
			t.Errorf("next %v, decided until %d", next, j.Done)
		}
		_ = j.Waiting()
		pending := len(j.Pending)
		if j.decide(now, second%2 == 0) && (j.Done > now.Unix() || len(j.Pending)-pending > maxMissed+2) {
			t.Errorf("at %d it decided until %d, and %d more are pending", now.Unix(), j.Done, len(j.Pending)-pending)
		}
		if j.decide(now, false) {
			t.Error("there was more to decide")
		}
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeDocument(backend.Doc{Name: docPrefix + "j", Revision: 1, Value: text})
		if err != nil {
			t.Fatalf("written, and not read: %v", err)
		}
		if text2, err := json.Marshal(again); err != nil || string(text) != string(text2) {
			t.Errorf("written %s, read %s, %v", text, text2, err)
		}
	})
}
