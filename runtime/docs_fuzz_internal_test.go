package runtime

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// FuzzJobDoc holds the documents of jobs to this: whatever is stored, a job is refused or has a next due time that is
// later than what is decided, decides it in bounded time and space, and is read again as it was written.
func FuzzJobDoc(f *testing.F) {
	const job = `{"cron":"*/5 * * * *","queue":"q","payload":1,"weight":1,"missed":"all","window":86400000000000,"overlap":"queue"`
	for _, seed := range []string{
		job + `,"created":1,"done":-62135596800}`,
		job + `,"created":9223372036854775807,"done":-9223372036854775808,"held":-1,"decided":99999999999999}`,
		job + `,"done":1700000000,"owed":[{"due":1,"skip":"missed","more":3},{"due":-5}],"dropped":[{"due":7}],"live":["a","b"],"fired":5}`,
		`{"cron":"@every 1000000h","queue":"q","created":-1,"done":5}`,
		`{"cron":"0 0 29 2 1","zone":"Europe/Berlin","disabled":true}`,
		`{"cron":"* * * * * *","zone":"Nowhere","done":1}`,
		`{}`, `null`, `[]`, `{"owed":null,"done":1e30}`,
	} {
		f.Add([]byte(seed), int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, value []byte, second int64) {
		j, err := readJobDoc(backend.Doc{Name: jobDocs + "j", Revision: 1, Value: value})
		if err != nil {
			if CodeOf(err) != ErrDataLoss {
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
		if next := j.next(); !next.IsZero() && next.Unix() <= j.Done {
			t.Errorf("next %v, decided until %d", next, j.Done)
		}
		_ = j.public()
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
		again, err := readJobDoc(backend.Doc{Name: jobDocs + "j", Revision: 1, Value: text})
		if err != nil {
			t.Fatalf("written, and not read: %v", err)
		}
		if text2, err := json.Marshal(again); err != nil || string(text) != string(text2) {
			t.Errorf("written %s, read %s, %v", text, text2, err)
		}
	})
}

// FuzzLimitsDoc: whatever is stored as limits, they are refused, or are a number of tasks that a pool can have.
func FuzzLimitsDoc(f *testing.F) {
	for _, seed := range []string{`{}`, `{"paused":true,"max":3}`, `{"max":-1}`, `{"at":{"1.2.3.4":9223372036854775807,"":-5}}`, `null`, `{"max":1e9}`} {
		f.Add([]byte(seed), "1.2.3.4")
	}
	f.Fuzz(func(t *testing.T, value []byte, ip string) {
		l, err := decodeLimits(backend.Doc{Name: limitsPrefix + "q", Revision: 3, Value: value})
		if err != nil {
			if CodeOf(err) != ErrDataLoss {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if n := l.at(ip, 10).Slots(); n < 0 || n > maxWorkers || l.Paused && n != 0 {
			t.Errorf("%d slots by %s", n, value)
		}
	})
}

// FuzzFireDoc: whatever is stored as a job's history, it is refused, or lists fires in order, each once, in pages of any size.
func FuzzFireDoc(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"n":2,"fires":[{"due":60,"n":1,"at":61},{"due":120,"skip":"missed","more":4,"n":2,"at":121}]}`,
		`{"n":-1,"fires":[{"due":-9223372036854775808,"n":-9223372036854775808,"at":9223372036854775807},{"task":"t","n":1}]}`,
		`{"fires":[{"at":1,"n":1},{"at":1,"n":1}]}`,
	} {
		f.Add([]byte(seed), uint8(1), "")
	}
	f.Fuzz(func(t *testing.T, value []byte, size uint8, cursor string) {
		h, err := readFireDoc("j", value)
		if err != nil {
			if CodeOf(err) != ErrDataLoss {
				t.Errorf("refused with %v", err)
			}
			return
		}
		for _, order := range []FireSort{FiresLatest, FiresOldest} {
			fires := sortFires(map[string]fireDoc{"j": h}, FireQuery{Sort: order})
			if _, _, err := pageOf(fires, keyedFire.by, cursor, int(size)); err != nil {
				t.Fatal(err)
			}
			seen, at := 0, ""
			for {
				page, next, err := pageOf(fires, keyedFire.by, at, int(size)+1)
				if err != nil {
					t.Fatal(err)
				}
				if seen += len(page); next == "" {
					break
				}
				if next <= at {
					t.Fatalf("the cursor %q follows %q", next, at)
				}
				at = next
			}
			if seen != len(fires) {
				t.Errorf("%d of %d fires are in pages of %d", seen, len(fires), int(size)+1)
			}
		}
	})
}
