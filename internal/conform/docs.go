package conform

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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
		{"latest", docsLatest},                             // the last names first, in pages
		{"get_all", docsGetAll},                            // the documents that exist
		{"put_all", docsPutAll},                            // each write succeeds or fails alone
		{"put_all_at_once", docsPutAllAtOnce},              // of many writers, one succeeds per document
		{"put_all_large", docsPutAllLarge},                 // a thousand documents, and one that may be refused
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

func docsLatest(w *world) {
	for _, name := range []string{"log/b", "log/a", "log", "log/a/1", "log/ü", "LOG/x", "log%/x", "log_/y", "zz"} {
		w.put(name, 0, fmt.Sprintf("%q", name))
	}
	for _, c := range []struct {
		prefix, before string
		max            int
		want           []string
	}{
		{"log/", "", 10, []string{"log/ü", "log/b", "log/a/1", "log/a"}},
		{"log/", "", 2, []string{"log/ü", "log/b"}},
		{"log/", "log/b", 2, []string{"log/a/1", "log/a"}},
		{"log/", "log/a0", 2, []string{"log/a/1", "log/a"}}, // no document has that name
		{"log/", "log/a", 2, []string{}},
		{"log/", "zz", 1, []string{"log/ü"}},
		{"log/", "a", 1, []string{}},
		{"log%", "", 10, []string{"log%/x"}},
		{"log_", "", 10, []string{"log_/y"}},
		{"none", "", 10, []string{}},
		{"log/", "", 0, []string{}},
		{"", "log/a", 4, []string{"log%/x", "log", "LOG/x"}},
	} {
		docs, err := w.Docs.Latest(w.ctx(), c.prefix, c.before, c.max)
		w.must(err)
		got := []string{}
		for _, d := range docs {
			got = append(got, d.Name)
			w.wantDoc(d.Name, d.Revision, string(d.Value))
		}
		w.same(fmt.Sprintf("%d of %q before %q", c.max, c.prefix, c.before), got, c.want)
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

func docsGetAll(w *world) {
	first := w.put("jobs/a", 0, `1`)
	second := w.put("jobs/b", 0, `2`)
	docs, err := w.Docs.GetAll(w.ctx(), []string{"jobs/b", "none", "jobs/a", "jobs"})
	w.must(err)
	slices.SortFunc(docs, func(a, b backend.Doc) int { return cmp.Compare(a.Name, b.Name) })
	w.same("documents", docs, []backend.Doc{
		{Name: "jobs/a", Revision: first, Value: json.RawMessage(`1`)},
		{Name: "jobs/b", Revision: second, Value: json.RawMessage(`2`)},
	})
	docs, err = w.Docs.GetAll(w.ctx(), nil)
	w.must(err)
	w.same("documents without names", len(docs), 0)
}

func (w *world) putAll(docs ...backend.Doc) []backend.Put {
	w.Helper()
	puts, err := w.Docs.PutAll(w.ctx(), docs)
	w.must(err)
	if len(puts) != len(docs) {
		w.Fatalf("%d results of %d writes", len(puts), len(docs))
	}
	return puts
}

func docsPutAll(w *world) {
	is := w.put("is", 0, `1`)
	was := w.put("was", 0, `1`)
	w.must(w.Docs.Delete(w.ctx(), "was", was))
	value := json.RawMessage(`2`)
	puts := w.putAll(
		backend.Doc{Name: "stale", Revision: 7, Value: value}, // doesn't exist
		backend.Doc{Name: "new", Value: value},
		backend.Doc{Name: "was", Revision: was, Value: value},
		backend.Doc{Name: "is", Revision: is, Value: value},
		backend.Doc{Name: "7", Value: value},
	)
	for i, name := range map[int]string{1: "new", 3: "is", 4: "7"} {
		w.must(puts[i].Err)
		w.wantDoc(name, puts[i].Revision, `2`)
	}
	if puts[3].Revision <= is {
		w.Errorf("revision %d after %d", puts[3].Revision, is)
	}
	for _, i := range []int{0, 2} {
		w.wantCode(puts[i].Err, backend.ErrAborted)
	}
	for _, name := range []string{"stale", "was"} {
		_, err := w.Docs.Get(w.ctx(), name)
		w.wantCode(err, backend.ErrNotFound)
	}
	again := w.putAll(
		backend.Doc{Name: "new", Value: json.RawMessage(`3`)}, // exists
		backend.Doc{Name: "is", Revision: is, Value: json.RawMessage(`3`)},
		backend.Doc{Name: "7", Revision: puts[4].Revision - 1, Value: json.RawMessage(`3`)},
	)
	for _, p := range again {
		w.wantCode(p.Err, backend.ErrAborted)
	}
	w.wantDoc("new", puts[1].Revision, `2`)
	w.wantDoc("is", puts[3].Revision, `2`)
	w.wantDoc("7", puts[4].Revision, `2`)
	w.put("is", puts[3].Revision, `4`)
	w.same("results of no writes", len(w.putAll()), 0)
}

func docsPutAllAtOnce(w *world) {
	const names = 20
	for round := range 2 { // new documents, and existing ones
		docs, err := w.Docs.List(w.ctx(), "")
		w.must(err)
		for i := len(docs); i < names; i++ {
			docs = append(docs, backend.Doc{Name: fmt.Sprintf("d%02d", i)})
		}
		wrote := make([]atomic.Int64, names)
		for _, err := range many(w, func(n int) error {
			mine := slices.Clone(docs)
			for i := range mine {
				mine[i].Value = json.RawMessage(strconv.Itoa(n))
			}
			puts, err := w.Docs.PutAll(w.ctx(), mine)
			for i, p := range puts {
				if p.Err == nil {
					wrote[i].Add(1)
				} else {
					w.wantCode(p.Err, backend.ErrAborted)
				}
			}
			return err
		}) {
			w.must(err)
		}
		for i := range wrote {
			w.same(fmt.Sprintf("round %d: writers of document %d", round, i), wrote[i].Load(), int64(1))
		}
	}
}

func docsPutAllLarge(w *world) {
	docs := make([]backend.Doc, 1000)
	for i := range docs {
		docs[i] = backend.Doc{Name: fmt.Sprintf("d%03d", i), Value: json.RawMessage(strconv.Itoa(i))}
	}
	for i, p := range w.putAll(docs...) {
		w.must(p.Err)
		docs[i].Revision, docs[i].Value = p.Revision, json.RawMessage(strconv.Itoa(-i))
	}
	huge, _ := json.Marshal(strings.Repeat("x", 16<<20))
	docs[500].Value = huge
	for i, p := range w.putAll(docs...) {
		if i != 500 {
			w.must(p.Err)
		} else if p.Err != nil {
			w.wantCode(p.Err, backend.ErrResourceExhausted)
		}
	}
	for _, i := range []int{0, 499, 501, 999} {
		doc, err := w.Docs.Get(w.ctx(), docs[i].Name)
		w.must(err)
		w.same(doc.Name, string(doc.Value), strconv.Itoa(-i))
	}
}
