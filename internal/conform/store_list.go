package conform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

var listBehaviours = []behaviour{
	{"pages", listPages},                        // pages contain every task once, in order, with the total
	{"inserts_between_pages", listWhileGrowing}, // they disturb nothing
	{"page_bytes", listBytes},                   // a page is limited by bytes, and has at least one task
	{"filters", listFilters},
	{"bounded_total", listBoundedTotal}, // counting stops, and the page reports it
	{"statuses", func(w *world) { // of the tasks that exist
		waits, ran := w.add(), w.add()
		w.done(ran, backend.StatusFailed)
		found, err := w.Store.Statuses(w.ctx(), []string{ran, "none", waits})
		w.must(err)
		w.same("statuses", found, map[string]backend.Status{waits: backend.StatusWaiting, ran: backend.StatusFailed})
		found, err = w.Store.Statuses(w.ctx(), nil)
		w.must(err)
		w.same("statuses of no tasks", len(found), 0)
	}},
	{"invalid_page", func(w *world) { // it is refused
		w.add()
		for _, q := range []backend.TaskQuery{{Limit: -1}, {Limit: 1001}, {Bytes: -1}, {Bytes: backend.MaxPage + 1},
			{Cursor: "odd"}, {Sort: "odd"}} {
			_, err := w.Store.List(w.ctx(), q)
			w.wantCode(err, backend.ErrInvalidArgument)
		}
	}},
}

func listPages(w *world) {
	var all []string
	for i := range 57 {
		name := w.add(in([]string{"q", "p"}[i%2]))
		all = append(all, name)
		if i%5 == 0 {
			w.o.Sleep(time.Millisecond)
		}
		if i%3 == 0 {
			w.done(name, []backend.Status{backend.StatusSuccess, backend.StatusFailed}[i%2])
		}
	}
	slices.Sort(all)
	key := map[backend.TaskSort]func(a, b backend.Task) int{
		backend.SortNewest: func(a, b backend.Task) int { return b.Created.Compare(a.Created) },
		backend.SortOldest: func(a, b backend.Task) int { return a.Created.Compare(b.Created) },
		backend.SortEnded:  func(a, b backend.Task) int { return b.Ended.Compare(a.Ended) },
	}
	for sort, cmp := range key {
		for _, limit := range []int{0, 1, 7, 57, 100} {
			q := backend.TaskQuery{Sort: sort, Limit: limit}
			p, err := w.Store.List(w.ctx(), q)
			w.must(err)
			if want := min(57, max(limit, 1)); limit > 0 && len(p.Tasks) != want || p.Total != 57 {
				w.Errorf("sort %q, limit %d: %d tasks of %d", sort, limit, len(p.Tasks), p.Total)
			}
			if end := len(p.Tasks) == 57; end != (p.Cursor == "") {
				w.Errorf("sort %q, limit %d: cursor %q after %d tasks", sort, limit, p.Cursor, len(p.Tasks))
			}
			tasks := w.list(q)
			if !slices.IsSortedFunc(tasks, cmp) {
				w.Errorf("sort %q, limit %d: out of order", sort, limit)
			}
			got := ids(tasks)
			slices.Sort(got)
			w.same(fmt.Sprintf("sort %q, limit %d", sort, limit), got, all)
			w.same("and again", ids(w.list(q)), ids(tasks))
		}
	}
}

func listBytes(w *world) {
	const size, most = 20 << 10, 70 << 10
	payload := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
	source := w.add(in("source"))
	var tasks []backend.NewTask
	for i := range 12 {
		n := w.task(child(source, "b"), id(backend.SubtaskID(source, "b", i)), in("sub"))
		n.Task.Payload = payload
		if i == 5 {
			n.Task.Payload = json.RawMessage(`"` + strings.Repeat("x", 2*most) + `"`)
		}
		tasks = append(tasks, n)
	}
	all := ids(w.insert(tasks...))
	w.must(w.Store.Spawn(w.ctx(), backend.Spawn{Source: source, Batch: "b", Now: true, Count: len(tasks)}))
	for i, name := range all {
		if i < 9 {
			w.done(name, backend.StatusSuccess)
			w.o.Sleep(time.Millisecond)
		}
	}
	slices.Sort(all)
	for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortOldest, backend.SortEnded} {
		for _, q := range []backend.TaskQuery{{Source: source}, {Queue: "sub"}} {
			q.Sort, q.Bytes = sort, most
			var got []string
			for {
				p, err := w.Store.List(w.ctx(), q)
				w.must(err)
				w.same("total", p.Total, len(all))
				bytes := 0
				for i := range p.Tasks {
					bytes += p.Tasks[i].Size()
				}
				if n := len(p.Tasks); n == 0 || n > 1 && bytes > most {
					w.Fatalf("sort %q: %d tasks of %d bytes in a page of %d", sort, n, bytes, most)
				}
				got = append(got, ids(p.Tasks)...)
				if q.Cursor = p.Cursor; q.Cursor == "" {
					break
				}
			}
			w.same("in order", got, ids(w.list(backend.TaskQuery{Source: source, Sort: sort})))
			slices.Sort(got)
			w.same(fmt.Sprintf("sort %q", sort), got, all)
		}
	}
}

func listWhileGrowing(w *world) {
	var first []string
	for range 20 {
		first = append(first, w.add())
	}
	for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortOldest} {
		q, met := backend.TaskQuery{Sort: sort, Limit: 3}, map[string]int{}
		for {
			p, err := w.Store.List(w.ctx(), q)
			w.must(err)
			for _, t := range p.Tasks {
				met[t.ID]++
			}
			if q.Cursor = p.Cursor; q.Cursor == "" {
				break
			}
			if len(met) < 40 {
				w.add()
			}
		}
		for _, id := range first {
			if met[id] != 1 {
				w.Errorf("sort %q: task %s was met %d times", sort, id, met[id])
			}
		}
	}
}

func listFilters(w *world) {
	source := w.add(in("p"))
	kids := w.spawn(source, "b", true, 3)
	w.o.Sleep(w.o.Tick)
	late := w.add(in("sub"))
	w.done(kids[0], backend.StatusSuccess)
	w.take(kids[1], "o")
	split := w.get(late).Created
	for _, c := range []struct {
		q    backend.TaskQuery
		want []string
	}{
		{backend.TaskQuery{}, []string{source, kids[0], kids[1], kids[2], late}},
		{backend.TaskQuery{Queue: "p"}, []string{source}},
		{backend.TaskQuery{Queue: "none"}, nil},
		{backend.TaskQuery{Queue: "sub"}, []string{kids[0], kids[1], kids[2], late}},
		{backend.TaskQuery{Source: source}, kids},
		{backend.TaskQuery{Source: late}, nil},
		{backend.TaskQuery{Source: source, Queue: "p"}, nil},
		{backend.TaskQuery{Source: source, Queue: "sub", Statuses: []backend.Status{backend.StatusRunning}}, kids[1:2]},
		{backend.TaskQuery{Statuses: []backend.Status{backend.StatusSuccess, backend.StatusRunning}}, kids[:2]},
		{backend.TaskQuery{Statuses: []backend.Status{backend.StatusStopped}}, nil},
		{backend.TaskQuery{After: split}, []string{late}},
		{backend.TaskQuery{Before: split, Queue: "sub"}, kids},
		{backend.TaskQuery{After: split, Before: split}, nil},
	} {
		for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortOldest, backend.SortEnded} {
			c.q.Sort, c.q.Limit = sort, 2
			p, err := w.Store.List(w.ctx(), c.q)
			w.must(err)
			w.same("total", p.Total, len(c.want))
			got, want := ids(w.list(c.q)), append([]string{}, c.want...)
			slices.Sort(got)
			slices.Sort(want)
			w.same(fmt.Sprintf("%+v", c.q), got, want)
		}
	}
}

func listBoundedTotal(w *world) {
	for left := backend.MaxTotal; left > 0; {
		batch := make([]backend.NewTask, min(left, 1000))
		for i := range batch {
			batch[i] = w.task()
		}
		w.insert(batch...)
		left -= len(batch)
	}
	check := func(stored int, q backend.TaskQuery) {
		w.Helper()
		q.Limit = 1
		p, err := w.Store.List(w.ctx(), q)
		w.must(err)
		switch {
		case p.AtLeast && (stored <= backend.MaxTotal || p.Total != backend.MaxTotal),
			!p.AtLeast && p.Total != stored:
			w.Errorf("%d tasks are stored: total %d, at least: %v", stored, p.Total, p.AtLeast)
		case !p.AtLeast && stored > backend.MaxTotal && !q.After.IsZero():
			w.Errorf("counted %d tasks of a time range", p.Total)
		}
	}
	queries := []backend.TaskQuery{{}, {Queue: "q"}, {After: time.Now().AddDate(-1, 0, 0)},
		{Queue: "q", Statuses: []backend.Status{backend.StatusWaiting}, After: time.Now().AddDate(-1, 0, 0)}}
	for _, q := range queries {
		check(backend.MaxTotal, q)
	}
	w.add()
	for _, q := range queries {
		check(backend.MaxTotal+1, q)
	}
}
