package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// docs is a backend.Docs in memory that counts reads.
type docs struct {
	backend.Docs
	all   []backend.Doc // by name
	reads int           // documents
	fail  int           // writes that succeed with a lost reply
}

func (d *docs) PutIf(_ context.Context, name string, _ int64, value json.RawMessage) (int64, error) {
	i, found := slices.BinarySearchFunc(d.all, name, func(d backend.Doc, name string) int {
		return strings.Compare(d.Name, name)
	})
	if found {
		return 0, backend.NewError(backend.ErrAborted, "exists")
	}
	d.all = slices.Insert(d.all, i, backend.Doc{Name: name, Revision: 1, Value: value})
	if d.fail--; d.fail >= 0 {
		return 0, backend.NewError(backend.ErrUnavailable, "lost").With(backend.OutcomeUnknown)
	}
	return 1, nil
}

func (d *docs) Latest(_ context.Context, prefix, before string, max int) (found []backend.Doc, _ error) {
	for _, doc := range slices.Backward(d.all) {
		if strings.HasPrefix(doc.Name, prefix) && (before == "" || doc.Name < before) && len(found) < max {
			found = append(found, doc)
		}
	}
	d.reads += len(found)
	return found, nil
}

func (d *docs) Delete(_ context.Context, name string, _ int64) error {
	d.all = slices.DeleteFunc(d.all, func(d backend.Doc) bool { return d.Name == name })
	return nil
}

func newLog(d *docs) *Log {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return &Log{Docs: d, Log: slog.New(slog.DiscardHandler), Instance: "i",
		Now: func(context.Context) (time.Time, error) { return now, nil }} // its clock doesn't tick
}

// Entries of one instant are in order, and pages with and without conditions have each entry once.
func TestPages(t *testing.T) {
	d := &docs{all: []backend.Doc{{Name: "audio/x"}, {Name: "auditor"}}}
	l := newLog(d)
	for i := range 25 {
		l.Add(t.Context(), Entry{By: fmt.Sprint("by", i%2), Action: TaskStop, Target: fmt.Sprint(i)})
	}
	for by, want := range map[string]int{"": 25, "by0": 13, "by2": 0} {
		var got []string
		for q := (Query{By: by, Limit: 5}); ; {
			page, cursor, err := l.Page(t.Context(), q)
			if err != nil || len(page) > 5 {
				t.Fatalf("%d entries, %v", len(page), err)
			}
			for _, e := range page {
				got = append(got, e.Target)
				if e.ID == "" || e.Instance != "i" || e.Time.IsZero() {
					t.Errorf("%+v", e)
				}
			}
			if q.Cursor = cursor; cursor == "" {
				break
			}
		}
		for i := 1; i < len(got); i++ {
			var before, is int
			_, _ = fmt.Sscan(got[i-1], &before)
			_, _ = fmt.Sscan(got[i], &is)
			if before <= is {
				t.Errorf("%s before %s", got[i-1], got[i])
			}
		}
		if len(got) != want {
			t.Errorf("by %q: %v", by, got)
		}
	}
	for _, q := range []Query{{Limit: -1}, {Limit: 1001}, {Cursor: "x"}, {Cursor: "../limits/job"}} {
		if _, _, err := l.Page(t.Context(), q); backend.CodeOf(err) != backend.ErrInvalidArgument {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// An entry whose write has an unknown outcome is written once.
func TestLostReplyAddsOneEntry(t *testing.T) {
	d := &docs{fail: 1}
	l := newLog(d)
	l.Add(t.Context(), Entry{By: "ann", Action: TaskStop})
	if page, _, err := l.Page(t.Context(), Query{}); len(page) != 1 || err != nil {
		t.Errorf("%+v, %v", page, err)
	}
}

// The last entries are kept, and a round without new entries reads one.
func TestPrune(t *testing.T) {
	d := &docs{}
	for i := range Kept + slack + 2*pruneMost {
		name := prefix + time.Unix(int64(i), 0).UTC().Format(stamp) + "-X"
		d.all = append(d.all, backend.Doc{Name: name, Value: []byte("{}")})
	}
	newest := d.all[len(d.all)-1].Name
	l := newLog(d)
	before := len(d.all)
	for range 5 {
		if err := l.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if deleted := before - len(d.all); deleted > pruneMost {
			t.Errorf("%d deleted at once", deleted)
		}
		before = len(d.all)
	}
	if len(d.all) != Kept || d.all[Kept-1].Name != newest {
		t.Errorf("%d are kept", len(d.all))
	}
	d.reads = 0
	if err := l.Prune(t.Context()); err != nil || d.reads > 2 {
		t.Errorf("%d read, %v", d.reads, err)
	}
	for range slack {
		l.Add(t.Context(), Entry{By: "ann"})
	}
	if err := l.Prune(t.Context()); err != nil || len(d.all) != Kept+slack {
		t.Errorf("%d are kept, %v", len(d.all), err)
	}
	l.Add(t.Context(), Entry{By: "ann"})
	if err := l.Prune(t.Context()); err != nil || len(d.all) != Kept {
		t.Errorf("%d are kept, %v", len(d.all), err)
	}
}

// The target of a bulk change has its conditions, but no part of a payload.
func TestQueryTarget(t *testing.T) {
	q := backend.TaskQuery{Queue: "q", Statuses: []backend.Status{backend.StatusFailed}, Code: backend.ErrUnavailable,
		Limit: 5, Filter: backend.TaskFilter{Text: "a b", Payload: []backend.PayloadMatch{{Path: "user.id", Value: "secret"}}}}
	want := `queue=q status=failed code=unavailable text="a b" payload.user.id=…`
	if got := QueryTarget(&q); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := QueryTarget(&backend.TaskQuery{}); got != "all tasks" {
		t.Errorf("got %s", got)
	}
}
