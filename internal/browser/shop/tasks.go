package shop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend"
)

// tasks returns the newest tasks, latest first.
func tasks() (all []af.Task) {
	r := rand.New(rand.NewPCG(3, 11))
	ago := 200 * time.Millisecond
	for i := range 60 {
		all = append(all, task(i, ago, r))
		ago += time.Duration(80+r.IntN(900)) * time.Millisecond
	}
	waiting := invoice().Task
	all = slices.Insert(all, 7, waiting)
	running := importTask().Task
	all = slices.Insert(all, 16, running)
	failed := failures()
	all = slices.Insert(all, 11, failed[0])
	all = slices.Insert(all, 19, failed[1])
	return append(all, failed[2:]...)
}

// failures returns tasks that have failed, the latest first.
func failures() (all []af.Task) {
	for i, f := range []struct {
		queue, payload string
		ago            time.Duration
		code           af.Code
		message        string
	}{
		{Queue, `{"image":"s3://shop-media/p/90417.jpg","sizes":[160,320,960]}`, 4 * time.Second, af.ErrUnavailable,
			"PUT thumbs/90417-960.avif: 503 Slow Down"},
		{"import-rows", `{"row":4077,"sku":"SP-20417"}`, 11 * time.Second, af.ErrNotFound,
			"image SP-20417.jpg: 404 Not Found"},
		{"import-rows", `{"row":4021,"sku":"SP-20361"}`, time.Minute, af.ErrInvalidArgument,
			`row 4021: price: "12,90" is not a number`},
		{"invoices", `{"order":"SO-47802","vat":"DE"}`, 9 * time.Minute, af.ErrDeadlineExceeded,
			"ledger: no answer within 1.2 s"},
		{"receipts", `{"order":"SO-47655","email":"c881@mail"}`, 22 * time.Minute, af.ErrInvalidArgument,
			`email "c881@mail" has no domain`},
	} {
		on := fleet[1+i%3]
		t := af.Task{ID: id("failure " + f.payload), Queue: f.queue, Status: af.StatusFailed, Weight: 1, Attempt: 1 + i*2%3,
			Payload: json.RawMessage(f.payload), Created: before(f.ago + 2*time.Second), RunAt: before(f.ago + 2*time.Second),
			Started: before(f.ago + 300*time.Millisecond), Ended: before(f.ago), Instance: on.ID, IP: on.IP,
			Error: &backend.TaskError{Code: f.code, Message: f.message}}
		t.Attempts = []af.Attempt{at(t.Attempt, on, t.Started, t.Ended.Sub(t.Started), f.code, f.message)}
		all = append(all, t)
	}
	return all
}

// task returns the i-th of the tasks that are not special.
func task(i int, ago time.Duration, r *rand.Rand) af.Task {
	on := fleet[1+r.IntN(3)]
	t := af.Task{ID: id(fmt.Sprint("task ", i)), Created: before(ago), RunAt: before(ago), Weight: 1, Attempt: 1,
		Status: af.StatusSuccess, Instance: on.ID, IP: on.IP}
	number := 48_220 - i
	wait, ran := time.Duration(9+r.IntN(40))*time.Millisecond, time.Duration(40+r.IntN(400))*time.Millisecond
	switch k := r.IntN(20); {
	case k < 8:
		t.Queue, t.Payload = Queue, payload(`{"image":"s3://shop-media/p/%d.jpg","sizes":[160,320,960]}`, 90_000+number%977)
	case k < 12:
		t.Queue, t.Payload = "receipts", payload(`{"order":"SO-%d","email":"c%d@mail.example"}`, number, number%4096)
	case k < 15:
		t.Queue, t.Payload = "search-index", payload(`{"sku":"A-%d","reason":"price"}`, 1000+number%700)
	case k < 18:
		t.Queue, t.ID = "import-rows", fmt.Sprintf("%s/1/%d", Import, 4100-i)
		t.Payload, t.Source = payload(`{"row":%d,"sku":"SP-%d"}`, 4100-i, 20_000+number%999), Import
	case k == 18:
		t.Queue, t.Payload = "emails", payload(`{"template":"shipped","order":"SO-%d"}`, number)
		t.Status, t.Attempt, t.Instance, t.IP = af.StatusPending, 0, "", ""
		return t
	default:
		t.Queue, t.Payload = "invoices", payload(`{"order":"SO-%d","vat":"DE"}`, number)
		ran *= 4
	}
	t.Started = t.Created.Add(wait)
	if i < 5 {
		t.Status = af.StatusRunning
		return t
	}
	t.Ended = t.Started.Add(ran)
	return t
}

func payload(format string, args ...any) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(format, args...))
}

// invoice returns the task [Invoice].
func invoice() admin.Task {
	created := before(2*time.Minute + 31*time.Second)
	message := "ledger: no answer within 1.2 s"
	retries := 5
	t := af.Task{ID: Invoice, Queue: "invoices", Status: af.StatusRetrying, Weight: 3, Retries: &retries,
		Payload: json.RawMessage(`{"order":"SO-48213","customer":{"id":"cus_8fK2mQ","vat":"DE811907980","country":"DE"},` +
			`"lines":[{"sku":"A-1001","count":2,"cents":1990},{"sku":"B-2040","count":1,"cents":24900}],"express":true,"note":null}`),
		Created: created, RunAt: now.Add(48 * time.Second), Attempt: 3, Fence: 3, Instance: fleet[2].ID, IP: fleet[2].IP,
		Metadata: map[string]string{"tenant": "berlin", "request": "req_7c1f02"}, UniqueKey: "invoice/SO-48213",
		Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Timeout: 30 * time.Second,
		Error: &backend.TaskError{Code: af.ErrDeadlineExceeded, Message: message, Details: []backend.ErrorDetail{{
			Type: "ledger.Timeout", Value: json.RawMessage(`{"host":"ledger-2.internal:8443","waited_ms":1200}`)}}}}
	t.Attempts = []af.Attempt{
		at(1, fleet[1], created.Add(31*time.Millisecond), 1214*time.Millisecond, af.ErrDeadlineExceeded, message),
		at(2, fleet[3], created.Add(19*time.Second), 640*time.Millisecond, af.ErrUnavailable,
			"ledger: dial tcp 10.0.7.12:8443: connect: connection refused"),
		at(3, fleet[2], created.Add(71*time.Second), 1209*time.Millisecond, af.ErrDeadlineExceeded, message),
	}
	t.Started = t.Attempts[2].Started
	for _, a := range t.Attempts {
		t.Log = append(t.Log, line(a.Started, "INFO", fmt.Sprintf(`msg=attempt attempt=%d instance=%s ip=%s`, a.Attempt,
			a.Instance, a.IP)), line(a.Started.Add(4*time.Millisecond), "INFO", `msg="rendering invoice" order=SO-48213 lines=2`),
			line(a.Ended, "WARN", fmt.Sprintf("msg=%q took=%v", "ledger does not answer", a.Ended.Sub(a.Started))))
	}
	return admin.Task{Task: t, Why: &admin.Explanation{Task: t.ID, Queue: t.Queue, Status: t.Status, At: now,
		Rules: []admin.Finding{{Rule: admin.RuleNotDue, Text: "Attempt 3 of 6 failed; the next one is due at 13:42:58, in 48s. " +
			"The error was deadline_exceeded: " + message + ".", Evidence: admin.Evidence{Until: t.RunAt, Attempt: 3,
			Attempts: 6, Code: af.ErrDeadlineExceeded, Message: message}, Help: []string{"App.RunNow makes it due now"}}}}}
}

// mail returns the task [Mail].
func mail() admin.Task {
	t := af.Task{ID: Mail, Queue: "emails", Status: af.StatusPending, Weight: 1, Created: before(24 * time.Minute),
		RunAt: before(24 * time.Minute), Payload: json.RawMessage(`{"template":"shipped","order":"SO-47990"}`)}
	reason := "the provider answers 421 until 15:00"
	return admin.Task{Task: t, Ahead: &af.Count{N: 118}, Why: &admin.Explanation{Task: t.ID, Queue: t.Queue, Status: t.Status,
		At: now, Rules: []admin.Finding{{Rule: admin.RulePaused, Text: "Queue emails is paused since 13:16:10 by " +
			"ann@shop.example: " + reason + ".", Evidence: admin.Evidence{Since: before(26 * time.Minute),
			By: "ann@shop.example", Reason: reason}}}}}
}

// importLog is the log of [Import].
var importLog = []string{
	line(before(94*time.Second), "INFO", `msg=attempt attempt=1 instance=`+fleet[2].ID+` ip=10.0.4.21`),
	line(before(93*time.Second), "INFO", `msg="reading feed" url=https://feeds.nordic-textiles.example/spring.csv bytes=18233041`),
	line(before(92*time.Second), "INFO", `msg="columns matched" sku=0 name=1 price=4 stock=7`),
	line(before(61*time.Second), "WARN", `msg="price has a comma" row=4021 value="12,90"`),
	line(before(40*time.Second), "INFO", `msg="batch submitted" batch=3 rows=1400`),
	line(before(11*time.Second), "ERROR", `msg="image is missing" row=4077 sku=SP-20417 status=404`),
	line(before(2*time.Second), "INFO", `msg="batch submitted" batch=4 rows=1400`),
}

// importTask returns the task [Import].
func importTask() admin.Task {
	t := af.Task{ID: Import, Queue: "imports", Status: af.StatusRunning, Weight: 5, Attempt: 1, Fence: 1, Spawned: true,
		Payload:    json.RawMessage(`{"supplier":"nordic-textiles","feed":"spring.csv","images":true,"limit":null}`),
		Progress:   json.RawMessage(`{"rows":4206,"of":5600,"skipped":57,"stage":"rows"}`),
		Progressed: before(2 * time.Second), Log: importLog,
		Instance: fleet[2].ID, IP: fleet[2].IP, Created: before(95 * time.Second), RunAt: before(95 * time.Second),
		Started: before(94 * time.Second), Metadata: map[string]string{"tenant": "nordic"}, Timeout: 15 * time.Minute}
	return admin.Task{Task: t, Children: map[af.Status]af.Count{af.StatusRunning: {N: 34}, af.StatusPending: {N: 184},
		af.StatusRetrying: {N: 3}, af.StatusSuccess: {N: 3928}, af.StatusFailed: {N: 57}},
		Why: &admin.Explanation{Task: t.ID, Queue: t.Queue, Status: t.Status, At: now, Rules: []admin.Finding{{
			Rule: admin.RuleRunning, Text: "It runs on " + fleet[2].ID + " (10.0.4.21) since 13:40:36, for 1m34s, " +
				"reported progress 2s ago, and times out in 13m26s.",
			Evidence: admin.Evidence{Since: t.Started, Until: t.Started.Add(t.Timeout), Instance: t.Instance, IP: t.IP,
				Attempt: 1}}}}}
}

// tree returns the first subtasks of [Import].
func tree() (nodes []admin.Node) {
	add := func(depth int, name, queue string, status af.Status, started, took time.Duration, counts ...int) *admin.Node {
		n := admin.Node{Depth: depth, Task: af.Task{ID: Import + name, Queue: queue, Status: status}}
		if started > 0 {
			n.Task.Started = before(started)
		}
		if status.Final() {
			n.Task.Ended = n.Task.Started.Add(took)
		}
		if len(counts) > 0 {
			n.Counts = map[af.Status]af.Count{af.StatusSuccess: {N: counts[0]}, af.StatusRunning: {N: counts[1]}}
		}
		nodes = append(nodes, n)
		return &nodes[len(nodes)-1]
	}
	const s, ms = time.Second, time.Millisecond
	add(1, "/1/0", "import-rows", af.StatusSuccess, 92*s, 31*s, 1400, 0)
	add(2, "/1/0/1/0", Queue, af.StatusSuccess, 88*s, 412*ms)
	add(2, "/1/0/1/1", Queue, af.StatusSuccess, 87*s, 288*ms)
	add(1, "/1/1", "import-rows", af.StatusSuccess, 61*s, 22*s, 1400, 0)
	n := add(1, "/1/2", "import-rows", af.StatusFailed, 61*s, 803*ms)
	n.Task.Error = &backend.TaskError{Code: af.ErrInvalidArgument, Message: `row 4021: price: "12,90" is not a number`}
	add(1, "/1/3", "import-rows", af.StatusRunning, 39*s, 0, 1128, 16)
	add(2, "/1/3/1/0", Queue, af.StatusSuccess, 31*s, 365*ms)
	n = add(2, "/1/3/1/1", Queue, af.StatusRetrying, 12*s, 0)
	n.Task.Error = &backend.TaskError{Code: af.ErrUnavailable, Message: "PUT thumbs/90417-960.avif: 503 Slow Down"}
	add(2, "/1/3/1/2", Queue, af.StatusRunning, 400*ms, 0)
	add(1, "/1/4", "import-rows", af.StatusRunning, 2*s, 0, 0, 18)
	add(1, "/1/5", "import-rows", af.StatusPending, 0, 0)
	return nodes
}
