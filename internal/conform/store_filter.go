package conform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var filterBehaviours = []behaviour{
	{"code", listCode},                     // failed tasks by the code of their error, in each order
	{"code_of_any_failure", codeOfFailure}, // also of tasks that failed without an attempt, or crashed
	{"code_of_last_error", codeOfLast},     // earlier errors don't count, nor those of tasks that wait
	{"code_needs_failed", codeNeedsFailed},
	{"code_pages", codePages},      // while tasks fail and are deleted
	{"each_condition", filterEach}, // and together, and with conditions that have an index
	{"instance", filterInstance},   // where a task runs, or ended
	{"payload", filterPayload},
	{"cursors", filterCursors}, // pages contain each match once, in order
	{"inserts_between_pages", filterWhileGrowing},
	{"looked", filterLooked}, // pages report what they have looked at
	{"page_bytes", filterBytes},
	{"no_match", filterNone},
	{"invalid", filterInvalid},
}

var sorts = []backend.TaskSort{backend.SortNewest, backend.SortOldest, backend.SortEnded}

// fail fails a task with a code.
func (w *world) fail(id string, code backend.Code, message string) {
	w.Helper()
	t := w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusFailed,
		Error: &backend.TaskError{Code: code, Message: message}}, backend.SettledApplied)
}

// wantList checks the ids of a list in any order, on pages of two, by each sort, and the total unless it has a filter.
func (w *world) wantList(q backend.TaskQuery, want ...string) {
	w.Helper()
	for _, sort := range sorts {
		q.Sort, q.Limit, q.Cursor = sort, 2, ""
		p, err := w.Store.List(w.ctx(), q)
		w.must(err)
		if q.Filter.IsZero() && (p.Total != len(want) || p.AtLeast) {
			w.Errorf("%+v: total %d, at least: %v, want %d", q, p.Total, p.AtLeast, len(want))
		}
		w.same(fmt.Sprintf("%+v", q), sorted(ids(w.list(q))...), sorted(append([]string{}, want...)...))
	}
}

func byCode(code backend.Code) backend.TaskQuery {
	return backend.TaskQuery{Statuses: []backend.Status{backend.StatusFailed}, Code: code}
}

func listCode(w *world) {
	source := w.add(in("p"))
	kids := w.spawn(source, "b", true, 3)
	var internal []string
	for range 5 {
		internal = append(internal, w.add())
	}
	for _, i := range []int{3, 0, 4, 1, 2} { // in another order than created
		w.fail(internal[i], backend.ErrInternal, "broken")
		w.o.Sleep(time.Millisecond)
	}
	down := w.add()
	w.fail(down, backend.ErrUnavailable, "down")
	w.fail(kids[1], backend.ErrInternal, "broken")
	w.fail(kids[2], backend.ErrUnavailable, "down")
	w.done(w.add(), backend.StatusSuccess)
	w.add()
	w.wantList(byCode(backend.ErrInternal), append(internal, kids[1])...)
	w.wantList(byCode(backend.ErrUnavailable), down, kids[2])
	w.wantList(byCode(backend.ErrNotFound))
	w.wantList(byCode("of the user's own"))
	for _, sort := range sorts {
		q := byCode(backend.ErrInternal)
		q.Queue, q.Sort, q.Limit = "q", sort, 2
		want := slices.Clone(internal)
		if sort == backend.SortNewest {
			slices.Reverse(want)
		} else if sort == backend.SortEnded {
			want = []string{internal[2], internal[1], internal[4], internal[0], internal[3]}
		}
		w.same(fmt.Sprintf("in order %q", sort), ids(w.list(q)), want)
	}
	q := byCode(backend.ErrInternal)
	q.Queue = "none"
	w.wantList(q)
	q.Queue = "sub"
	w.wantList(q, kids[1])
	q.Queue, q.Source = "", source
	w.wantList(q, kids[1])
	q.Queue = "q"
	w.wantList(q)
	q.Source, q.Before = "", w.get(internal[0]).Created
	w.wantList(q)
	q.Before, q.After = time.Time{}, q.Before
	w.wantList(q, internal...)
	own := w.add()
	w.fail(own, "of the user's own", "")
	w.wantList(byCode("of the user's own"), own)
}

func codeOfFailure(w *world) {
	crashed := w.suspect(in("crashes"))
	w.beat("o")
	w.take(crashed, "o")
	w.expire("o", 1, 1)
	late := w.add(w.deadline(2 * w.o.Tick))
	w.o.Sleep(3 * w.o.Tick)
	w.promote("q", 0)
	stopped := w.add()
	w.stop(stopped, false) // its error has a code, but it has not failed
	w.wantList(byCode(backend.ErrInternal), crashed)
	w.wantList(byCode(backend.ErrDeadlineExceeded), late)
	w.wantList(byCode(backend.ErrAborted))
}

func codeOfLast(w *world) {
	id := w.add()
	t := w.take(id, "o")
	w.wantSettled(backend.Settle{ID: id, Fence: t.Fence, Nonce: "n", To: backend.StatusRetrying,
		Error: &backend.TaskError{Code: backend.ErrUnavailable}}, backend.SettledApplied)
	w.wantList(byCode(backend.ErrUnavailable))
	w.fail(id, backend.ErrInternal, "")
	w.wantList(byCode(backend.ErrUnavailable))
	w.wantList(byCode(backend.ErrInternal), id)
}

func codeNeedsFailed(w *world) {
	for _, statuses := range [][]backend.Status{
		nil, {backend.StatusSuccess}, {backend.StatusFailed, backend.StatusStopped},
	} {
		_, err := w.Store.List(w.ctx(), backend.TaskQuery{Code: backend.ErrInternal, Statuses: statuses})
		w.wantCode(err, backend.ErrInvalidArgument)
	}
}

func codePages(w *world) {
	var first []string
	for range 12 {
		first = append(first, w.add())
		w.fail(first[len(first)-1], backend.ErrInternal, "")
	}
	for _, sort := range sorts {
		q, met := byCode(backend.ErrInternal), map[string]int{}
		q.Sort, q.Limit = sort, 3
		for {
			p, err := w.Store.List(w.ctx(), q)
			w.must(err)
			for _, t := range p.Tasks {
				met[t.ID]++
			}
			if q.Cursor = p.Cursor; q.Cursor == "" {
				break
			}
			if len(met) < 20 {
				w.fail(w.add(), backend.ErrInternal, "")
			}
		}
		for _, id := range first {
			if met[id] != 1 {
				w.Errorf("sort %q: task %s was met %d times", sort, id, met[id])
			}
		}
	}
	for _, t := range w.list(byCode(backend.ErrInternal)) {
		w.delete(t.ID)
	}
	w.wantList(byCode(backend.ErrInternal))
}

func filterEach(w *world) {
	payload := func(text string) func(*backend.NewTask) {
		return func(n *backend.NewTask) { n.Task.Payload = json.RawMessage(text) }
	}
	a := w.add(id("user/1"), unique("key"), payload(`{"user":{"id":7}}`))
	b := w.add(id("user/2"), payload(`{"user":{"id":8}}`), func(n *backend.NewTask) { n.Task.RetryOf = "x" })
	c := w.add(id("other"), payload(`{"user":{"id":7}}`), in("p"), func(n *backend.NewTask) {
		n.Task.Metadata = map[string]string{"tenant": "acme", "zone": ""}
	})
	w.fail(b, backend.ErrInternal, "Disk FULL on /dev/sda")
	w.fail(c, backend.ErrUnavailable, "disk full")
	seven := []backend.PayloadMatch{{Path: "user.id", Value: "7"}}
	for _, f := range []struct {
		filter backend.TaskFilter
		want   []string
	}{
		{backend.TaskFilter{}, []string{a, b, c}},
		{backend.TaskFilter{Text: "disk full"}, []string{b, c}},
		{backend.TaskFilter{Text: "DEV"}, []string{b}},
		{backend.TaskFilter{Text: "full.*dev"}, nil},
		{backend.TaskFilter{UniqueKey: "key"}, []string{a}},
		{backend.TaskFilter{UniqueKey: "ke"}, nil},
		{backend.TaskFilter{RetryOf: "x"}, []string{b}},
		{backend.TaskFilter{IDPrefix: "user/"}, []string{a, b}},
		{backend.TaskFilter{IDPrefix: "user/2"}, []string{b}},
		{backend.TaskFilter{Payload: seven}, []string{a, c}},
		{backend.TaskFilter{Payload: append(seven, backend.PayloadMatch{Path: "user.id", Value: "8"})}, nil},
		{backend.TaskFilter{Text: "disk", Payload: seven}, []string{c}},
		{backend.TaskFilter{Metadata: map[string]string{"tenant": "acme"}}, []string{c}},
		{backend.TaskFilter{Metadata: map[string]string{"tenant": "acme", "zone": ""}}, []string{c}},
		{backend.TaskFilter{Metadata: map[string]string{"tenant": "Acme"}}, nil},
		{backend.TaskFilter{Metadata: map[string]string{"tenant": "acme", "x": ""}}, nil},
		{backend.TaskFilter{IDPrefix: "user/", Payload: seven, UniqueKey: "key"}, []string{a}},
	} {
		w.wantList(backend.TaskQuery{Filter: f.filter}, f.want...)
	}
	for _, q := range []struct {
		query backend.TaskQuery
		want  []string
	}{
		{backend.TaskQuery{Queue: "p", Filter: backend.TaskFilter{Payload: seven}}, []string{c}},
		{backend.TaskQuery{Queue: "q", Filter: backend.TaskFilter{Text: "disk"}}, []string{b}},
		{backend.TaskQuery{Source: "none", Filter: backend.TaskFilter{Text: "disk"}}, nil},
		{backend.TaskQuery{Statuses: []backend.Status{backend.StatusWaiting}, Filter: backend.TaskFilter{Payload: seven}},
			[]string{a}},
		{backend.TaskQuery{Before: w.get(a).Created, Filter: backend.TaskFilter{Text: "disk"}}, nil},
		{backend.TaskQuery{After: w.get(a).Created, Filter: backend.TaskFilter{Text: "disk"}}, []string{b, c}},
		{backend.TaskQuery{Statuses: []backend.Status{backend.StatusFailed}, Code: backend.ErrInternal,
			Filter: backend.TaskFilter{Text: "disk"}}, []string{b}},
	} {
		w.wantList(q.query, q.want...)
	}
}

func filterInstance(w *world) {
	on := func(owner string) backend.TaskQuery {
		return backend.TaskQuery{Filter: backend.TaskFilter{Instance: instanceOf(owner)}}
	}
	runs, ended, again := w.take(w.add(), "a"), w.take(w.add(), "a"), w.take(w.add(), "a")
	w.take(w.add(), "b")
	w.add()
	w.settle(ended, backend.StatusSuccess)
	w.settle(again, backend.StatusRetrying)
	w.wantList(on("a"), runs.ID, ended.ID)
	w.take(again.ID, "b")
	w.wantList(on("a"), runs.ID, ended.ID)
	w.same("on the other", len(w.list(on("b"))), 2)
}

func filterPayload(w *world) {
	n := w.task()
	n.Task.Payload = json.RawMessage(`{ "a": [ {"b": "x"}, 2.50, null, true ], "s": "a.b", "o": {"k": [1, 2]}, "": "e" }`)
	id := w.insert(n)[0].ID
	w.add(func(n *backend.NewTask) { n.Task.Payload = nil })
	for path, value := range map[string]string{
		"a.0.b": "x", "a.1": "2.50", "a.2": "null", "a.3": "true", "s": "a.b", "o.k": "[1,2]", "o": `{"k":[1,2]}`,
	} {
		for _, v := range []string{value, value + "x"} {
			f := backend.TaskFilter{Payload: []backend.PayloadMatch{{Path: path, Value: v}}}
			want := []string{}
			if v == value {
				want = []string{id}
			}
			w.same(path+"="+v, ids(w.list(backend.TaskQuery{Filter: f})), want)
		}
	}
}

// thirds inserts tasks, every third of which matches its filter, and ends some of them.
func (w *world) thirds(n int) (backend.TaskFilter, []string) {
	var want []string
	for i := range n {
		t := w.task()
		t.Task.Payload = json.RawMessage(fmt.Sprintf(`{"third":%v}`, i%3 == 0))
		id := w.insert(t)[0].ID
		if i%3 == 0 {
			want = append(want, id)
		}
		if i%5 == 0 {
			w.done(id, backend.StatusFailed)
			w.o.Sleep(time.Millisecond)
		}
	}
	return backend.TaskFilter{Payload: []backend.PayloadMatch{{Path: "third", Value: "true"}}}, want
}

func filterCursors(w *world) {
	f, want := w.thirds(50)
	for _, sort := range sorts {
		in := ids(w.list(backend.TaskQuery{Sort: sort}))
		in = slices.DeleteFunc(in, func(id string) bool { return !slices.Contains(want, id) })
		for _, limit := range []int{0, 1, 4, len(want), len(want) + 1} {
			w.same(fmt.Sprintf("sort %q, limit %d", sort, limit),
				ids(w.list(backend.TaskQuery{Sort: sort, Limit: limit, Filter: f})), in)
		}
	}
}

func filterWhileGrowing(w *world) {
	f, want := w.thirds(30)
	for _, sort := range sorts {
		q, met := backend.TaskQuery{Sort: sort, Limit: 2, Filter: f}, map[string]int{}
		for n := 0; ; n++ {
			p, err := w.Store.List(w.ctx(), q)
			w.must(err)
			for _, t := range p.Tasks {
				met[t.ID]++
			}
			if q.Cursor = p.Cursor; q.Cursor == "" {
				break
			}
			if n < 8 {
				w.add()
			}
		}
		for _, id := range want {
			if met[id] != 1 {
				w.Errorf("sort %q: task %s was met %d times", sort, id, met[id])
			}
		}
	}
}

func filterLooked(w *world) {
	f, want := w.thirds(50)
	for _, sort := range sorts {
		q, looked, found := backend.TaskQuery{Sort: sort, Limit: 4, Filter: f}, 0, 0
		for {
			p, err := w.Store.List(w.ctx(), q)
			w.must(err)
			looked, found = looked+p.Looked, found+len(p.Tasks)
			if p.Bounded || p.Looked < len(p.Tasks) || p.Looked == 0 || p.LookedTo.IsZero() {
				w.Errorf("sort %q: %d tasks of %d, to %v, bounded is %v", sort, len(p.Tasks), p.Looked, p.LookedTo, p.Bounded)
			}
			if p.Total != len(p.Tasks) || p.AtLeast != (p.Cursor != "") {
				w.Errorf("sort %q: %d tasks of %d, at least: %v, cursor %q", sort, len(p.Tasks), p.Total, p.AtLeast, p.Cursor)
			}
			last := p.Tasks[len(p.Tasks)-1].Created
			if sort == backend.SortNewest && p.LookedTo.After(last) || sort == backend.SortOldest && p.LookedTo.Before(last) {
				w.Errorf("sort %q: looked to %v, found a task of %v", sort, p.LookedTo, last)
			}
			if q.Cursor = p.Cursor; q.Cursor == "" {
				break
			}
		}
		w.same("looked", []int{looked, found}, []int{50, len(want)})
	}
	p, err := w.Store.List(w.ctx(), backend.TaskQuery{Limit: 2})
	w.must(err)
	w.same("looked without a filter", []any{p.Looked, p.LookedTo.IsZero(), p.Bounded}, []any{0, true, false})
}

func filterBytes(w *world) {
	const size, most = 20 << 10, 70 << 10
	for i := range 9 {
		w.add(func(n *backend.NewTask) {
			n.Task.Payload = json.RawMessage(fmt.Sprintf(`{"even":%v,"x":"%s"}`, i%2 == 0, strings.Repeat("x", size)))
		})
	}
	f := backend.TaskFilter{Payload: []backend.PayloadMatch{{Path: "even", Value: "true"}}}
	for _, sort := range sorts {
		p, err := w.Store.List(w.ctx(), backend.TaskQuery{Sort: sort, Bytes: most, Filter: f})
		w.must(err)
		if n := len(p.Tasks); n == 0 || n > 3 || p.Cursor == "" {
			w.Errorf("sort %q: %d tasks of %d bytes", sort, n, size)
		}
		w.same("all", len(w.list(backend.TaskQuery{Sort: sort, Bytes: most, Filter: f})), 5)
		p, err = w.Store.List(w.ctx(), backend.TaskQuery{Sort: sort, Bytes: 1, Filter: f})
		w.must(err)
		w.same("at least one", len(p.Tasks), 1)
	}
}

func filterNone(w *world) {
	f := backend.TaskFilter{Text: "x"}
	p, err := w.Store.List(w.ctx(), backend.TaskQuery{Filter: f})
	w.must(err)
	w.same("of no tasks", []any{len(p.Tasks), p.Looked, p.Total, p.AtLeast, p.Cursor, p.Bounded},
		[]any{0, 0, 0, false, "", false})
	for range 5 {
		w.add()
	}
	p, err = w.Store.List(w.ctx(), backend.TaskQuery{Filter: f, Sort: backend.SortOldest})
	w.must(err)
	w.same("of five", []any{len(p.Tasks), p.Looked, p.Total, p.AtLeast, p.Cursor, p.Bounded},
		[]any{0, 5, 0, false, "", false})
}

func filterInvalid(w *world) {
	w.add()
	long := strings.Repeat("x", 1025)
	match := backend.PayloadMatch{Path: "a", Value: "1"}
	for _, f := range []backend.TaskFilter{
		{Text: long}, {Instance: long}, {UniqueKey: long}, {RetryOf: long}, {IDPrefix: long},
		{Payload: []backend.PayloadMatch{{Value: "1"}}}, {Payload: []backend.PayloadMatch{{Path: "a", Value: long}}},
		{Payload: slices.Repeat([]backend.PayloadMatch{match}, 11)},
		{Metadata: map[string]string{"": "x"}}, {Metadata: map[string]string{"a=b": "x"}},
		{Metadata: map[string]string{"a": long}},
	} {
		_, err := w.Store.List(w.ctx(), backend.TaskQuery{Filter: f})
		w.wantCode(err, backend.ErrInvalidArgument)
	}
	_, err := w.Store.List(w.ctx(), backend.TaskQuery{Cursor: "odd", Filter: backend.TaskFilter{Text: "x"}})
	w.wantCode(err, backend.ErrInvalidArgument)
}
