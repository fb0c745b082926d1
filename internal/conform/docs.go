package conform

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// Docs tests a store of documents.
func Docs(t *testing.T, open Open, o Options) {
	run(t, open, o, []behaviour{
		{"write_raises_revision", docsPut},
		{"write_of_old_revision_is_aborted", docsConflict}, // it changes nothing
		{"one_of_many_writers", docsAtOnce},                // of many writers of one revision, one succeeds
		{"counter_loses_nothing", docsCounter},             // many raise it at once
		{"list_by_prefix", docsList},                       // documents are sorted by name
		{"delete", docsDelete},                             // only the given revision; a missing document is no error
	})
}

func (w *world) put(name string, rev int64, value string) int64 {
	w.Helper()
	rev, err := w.Docs.PutIf(w.ctx(), name, rev, json.RawMessage(value))
	w.must(err)
	return rev
}

func (w *world) wantDoc(name string, rev int64, value string) {
	w.Helper()
	doc, err := w.Docs.Get(w.ctx(), name)
	w.must(err)
	w.same(name, doc, backend.Doc{Name: name, Revision: rev, Value: json.RawMessage(value)})
}

func docsPut(w *world) {
	_, err := w.Docs.Get(w.ctx(), "jobs/a")
	w.wantCode(err, backend.ErrNotFound)
	first := w.put("jobs/a", 0, `{"n":1}`)
	if first <= 0 {
		w.Errorf("revision %d", first)
	}
	w.wantDoc("jobs/a", first, `{"n":1}`)
	second := w.put("jobs/a", first, `{"n":2}`)
	if second <= first {
		w.Errorf("revision %d after %d", second, first)
	}
	w.wantDoc("jobs/a", second, `{"n":2}`)
}

func docsConflict(w *world) {
	rev := w.put("a", 0, `1`)
	for _, wrong := range []int64{0, rev - 1, rev + 1} {
		_, err := w.Docs.PutIf(w.ctx(), "a", wrong, json.RawMessage(`2`))
		w.wantCode(err, backend.ErrAborted)
		if wrong != 0 {
			w.wantCode(w.Docs.Delete(w.ctx(), "a", wrong), backend.ErrAborted)
		}
	}
	_, err := w.Docs.PutIf(w.ctx(), "b", 1, json.RawMessage(`2`))
	w.wantCode(err, backend.ErrAborted)
	w.wantDoc("a", rev, `1`)
}

func docsAtOnce(w *world) {
	wrote := 0
	for _, err := range many(w, func(i int) error {
		_, err := w.Docs.PutIf(w.ctx(), "a", 0, json.RawMessage(strconv.Itoa(i)))
		return err
	}) {
		if err == nil {
			wrote++
			continue
		}
		w.wantCode(err, backend.ErrAborted)
	}
	w.same("writers", wrote, 1)
}

func docsCounter(w *world) {
	rev := w.put("n", 0, `0`)
	many(w, func(int) error {
		for {
			doc, err := w.Docs.Get(w.ctx(), "n")
			if err != nil {
				w.Error(err)
				return err
			}
			n, _ := strconv.Atoi(string(doc.Value))
			if _, err = w.Docs.PutIf(w.ctx(), "n", doc.Revision, json.RawMessage(strconv.Itoa(n+1))); err == nil {
				return nil
			}
			if backend.CodeOf(err) != backend.ErrAborted {
				w.Error(err)
				return err
			}
		}
	})
	doc, err := w.Docs.Get(w.ctx(), "n")
	w.must(err)
	w.same("count", string(doc.Value), strconv.Itoa(w.o.Many))
	if doc.Revision < rev+int64(w.o.Many) {
		w.Errorf("revision %d after %d writes", doc.Revision, w.o.Many+1)
	}
}

func docsList(w *world) {
	names := []string{"jobs/b", "jobs/a", "job", "jobs/a/1", "limits/a", "JOBS/x", "jobs/ü", "jobs%/x", "jobs_/y"}
	for _, name := range names {
		w.put(name, 0, fmt.Sprintf("%q", name))
	}
	for prefix, want := range map[string][]string{
		"jobs/": {"jobs/a", "jobs/a/1", "jobs/b", "jobs/ü"},
		"jobs%": {"jobs%/x"},
		"jobs_": {"jobs_/y"},
		"none":  {},
		"":      {"JOBS/x", "job", "jobs%/x", "jobs/a", "jobs/a/1", "jobs/b", "jobs/ü", "jobs_/y", "limits/a"},
	} {
		docs, err := w.Docs.List(w.ctx(), prefix)
		w.must(err)
		got := []string{}
		for _, d := range docs {
			got = append(got, d.Name)
			w.wantDoc(d.Name, d.Revision, string(d.Value))
		}
		w.same(prefix, got, want)
	}
}

func docsDelete(w *world) {
	first := w.put("a", 0, `1`)
	second := w.put("a", first, `2`)
	w.wantCode(w.Docs.Delete(w.ctx(), "a", first), backend.ErrAborted)
	w.must(w.Docs.Delete(w.ctx(), "a", second))
	w.must(w.Docs.Delete(w.ctx(), "a", second))
	w.must(w.Docs.Delete(w.ctx(), "never", 7))
	_, err := w.Docs.Get(w.ctx(), "a")
	w.wantCode(err, backend.ErrNotFound)
	w.put("a", 0, `3`)
}
