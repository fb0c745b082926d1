package conform

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Fields that the store keeps and doesn't interpret.
var fieldBehaviours = []behaviour{
	{"metadata", keepsMetadata},              // it is kept as given, whatever the names
	{"metadata_limits", refusesMetadata},     // too large or malformed metadata is refused
	{"metadata_of_done", handsMetadataOn},    // the task that runs SubtasksDone has its source's metadata and trace
	{"retries", keepsRetries},                // none differs from 0
	{"details", keepsDetails},                // an error keeps its details until the next one replaces it
	{"details_limits", refusesDetails},       // too large details are refused
	{"heads_are_small", headsOmitFields},     // a head has neither metadata nor details
	{"page_counts_metadata", countsMetadata}, // metadata and details count for the size of a page
}

func metadata(md map[string]string) func(*backend.NewTask) {
	return func(n *backend.NewTask) { n.Task.Metadata = md }
}

func keepsMetadata(w *world) {
	for _, md := range []map[string]string{
		nil,
		{"tenant": "acme", "empty": ""},
		{"a.b": "dots", "$set": "dollar", "$ref": "r", "$id": "i", ".": ".", " ": "\x00\n\"", "ü": "日本"},
		{"A": "1", "a": "2"},
		{"large": strings.Repeat("x", backend.MaxMetadata-5)},
		{strings.Repeat("n", backend.MaxMetadataName): ""},
	} {
		name := w.add(metadata(md))
		w.same("read", w.get(name).Metadata, md)
		t := w.take(name, "o")
		w.same("claimed", t.Metadata, md)
		w.settle(t, backend.StatusRetrying)
		t = w.take(name, "o")
		w.same("claimed again", t.Metadata, md)
		w.settle(t, backend.StatusSuccess)
		w.same("ended", w.get(name).Metadata, md)
		w.same("inserted again", w.insert(w.task(id(name), metadata(map[string]string{"other": "x"})))[0].ID, name)
		w.same("kept", w.get(name).Metadata, md)
	}
	for _, t := range w.list(backend.TaskQuery{Queue: "q"}) {
		w.same("listed", t.Metadata, w.get(t.ID).Metadata)
	}
}

func refusesMetadata(w *world) {
	for code, all := range map[backend.Code][]map[string]string{
		backend.ErrInvalidArgument: {
			{"": "x"}, {"nul\x00": "x"}, {strings.Repeat("n", backend.MaxMetadataName+1): ""},
		},
		backend.ErrResourceExhausted: {
			{"large": strings.Repeat("x", backend.MaxMetadata-4)},
			{"a": strings.Repeat("x", backend.MaxMetadata/2), "b": strings.Repeat("x", backend.MaxMetadata/2)},
		},
	} {
		for _, md := range all {
			_, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(id("fine")), w.task(metadata(md))})
			w.wantCode(err, code)
		}
	}
	_, err := w.Store.Get(w.ctx(), "fine")
	w.wantCode(err, backend.ErrNotFound)
}

func handsMetadataOn(w *world) {
	n := w.task(metadata(map[string]string{"tenant": "acme"}))
	n.Task.Trace = "00-1-2-01"
	source := w.insert(n)[0].ID
	run := w.take(source, "o")
	w.spawn(source, "b", true, 0)
	w.settle(run, backend.StatusSuccess)
	w.wantFinish(source, true, "q")
	done := w.take(source+"/done", "o")
	w.same("metadata", done.Metadata, n.Task.Metadata)
	w.same("trace", done.Trace, n.Task.Trace)
}

func keepsRetries(w *world) {
	for _, n := range []*int{nil, new(0), new(7)} {
		name := w.add(func(t *backend.NewTask) { t.Task.Retries = n })
		w.same("read", w.get(name).Retries, n)
		t := w.take(name, "o")
		w.same("claimed", t.Retries, n)
		w.settle(t, backend.StatusRetrying)
		w.same("claimed again", w.take(name, "o").Retries, n)
	}
	_, err := w.Store.Insert(w.ctx(), []backend.NewTask{w.task(func(t *backend.NewTask) { t.Task.Retries = new(-1) })})
	w.wantCode(err, backend.ErrInvalidArgument)
}

// failed returns an error with a detail of a size in bytes.
func failed(message string, size int) *backend.TaskError {
	const typ, quotes = "example.com/p.Why", 2
	return &backend.TaskError{Code: backend.ErrAborted, Message: message, Details: []backend.ErrorDetail{
		{Type: typ, Value: json.RawMessage(`"` + strings.Repeat("x", size-len(typ)-quotes) + `"`)},
	}}
}

func keepsDetails(w *world) {
	name := w.add()
	end := func(to backend.Status, e *backend.TaskError) *backend.TaskError {
		t := w.take(name, "o")
		w.wantSettled(backend.Settle{ID: name, Fence: t.Fence, Nonce: "n", To: to, Error: e}, backend.SettledApplied)
		return w.get(name).Error
	}
	first := failed("first", 100)
	first.Details = append(first.Details, backend.ErrorDetail{Type: "ü", Value: json.RawMessage(`{"a":[1,"x"]}`)})
	w.same("retrying", end(backend.StatusRetrying, first), first)
	w.same("snoozed", end(backend.StatusWaiting, nil), first)
	plain := &backend.TaskError{Code: backend.ErrInternal, Message: "no details"}
	w.same("replaced", end(backend.StatusRetrying, plain), plain)
	w.same("largest", end(backend.StatusFailed, failed("last", backend.MaxDetails)), failed("last", backend.MaxDetails))
	name = w.add()
	end(backend.StatusRetrying, first)
	w.same("success", end(backend.StatusSuccess, nil), (*backend.TaskError)(nil))
	name = w.add()
	end(backend.StatusRetrying, first)
	w.stop(name, false)
	w.same("stopped", w.get(name).Error, &backend.TaskError{Code: backend.ErrAborted, Message: "enough"})
}

func refusesDetails(w *world) {
	t := w.take(w.add(), "o")
	for _, d := range []backend.ErrorDetail{
		failed("", backend.MaxDetails+1).Details[0], failed("", 2*backend.MaxDetails).Details[0],
	} {
		_, err := w.Store.Settle(w.ctx(), []backend.Settle{{
			ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusFailed,
			Error: &backend.TaskError{Code: backend.ErrAborted, Details: []backend.ErrorDetail{d}},
		}})
		w.wantCode(err, backend.ErrInvalidArgument)
	}
	w.same("the task", w.get(t.ID), t)
}

func headsOmitFields(w *world) {
	inserted := w.insert(w.task(metadata(map[string]string{"k": "v"})))[0]
	w.same("inserted", inserted.Metadata, map[string]string(nil))
	t := w.take(inserted.ID, "o")
	w.wantSettled(backend.Settle{
		ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Error: failed("why", 100),
	}, backend.SettledApplied)
	again := w.insert(w.task(id(t.ID)))[0]
	stored := w.get(t.ID)
	w.same("inserted again", again, stored.Head())
	w.same("details", again.Error.Details, []backend.ErrorDetail(nil))
	w.same("message", again.Error.Message, "why")
	w.same("metadata", again.Metadata, map[string]string(nil))
	w.same("the task keeps both", stored.Metadata["k"]+stored.Error.Details[0].Type, "vexample.com/p.Why")
}

func countsMetadata(w *world) {
	const tasks, size = 20, 6 << 10
	for range tasks / 2 {
		w.add(in("md"), metadata(map[string]string{"k": strings.Repeat("x", size)}))
		t := w.take(w.add(in("md")), "o")
		w.wantSettled(backend.Settle{
			ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying, Error: failed("why", size), Delay: time.Hour,
		}, backend.SettledApplied)
	}
	page, err := w.Store.List(w.ctx(), backend.TaskQuery{Queue: "md", Bytes: 5 * size})
	w.must(err)
	if n := len(page.Tasks); n == 0 || n > 5 {
		w.Errorf("%d tasks of %d bytes on a page of %d bytes", n, size, 5*size)
	}
}
