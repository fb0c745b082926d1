package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin/filter"
)

const tasksOnPage = 50

// A tasksPage is the data of the list of tasks.
type tasksPage struct {
	frame
	Line    string // the filter
	Bad     string // what is wrong with it
	Page    af.TaskPage
	Next    string
	First   string // the first page, if this is another
	Chips   []chip
	Keys    []filter.Key
	Terms   []term // that complete the filter
	Changes bool   // some bulk action is allowed
	Empty   string
	Orders  []choice
	ByEnd   bool   // the order is that of the ends
	Command string // that lists the same tasks
}

// A chip is a link that selects a status.
type chip struct {
	Text   string
	Status af.Status // "" for all
	Link   string
	N      string
	On     bool
}

func (s *server) tasks(v *viewer, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	p := tasksPage{Line: strings.TrimSpace(query.Get("q")), Keys: filter.Keys(),
		Changes: v.Can("StopTasks") || v.Can("RetryTasks") || v.Can("DeleteTasks")}
	p.frame = frame{viewer: v, Title: "Tasks", Nav: "tasks", Done: doneText(r)}
	q, status := af.TaskQuery{}, http.StatusOK
	var err error
	if p.Line != "" {
		if q, err = filter.Parse(p.Line, v.now.Truncate(time.Second)); err != nil {
			p.Bad, status = messageOf(err), http.StatusBadRequest
		}
	}
	if err == nil {
		q.Limit, q.Bytes, q.Cursor = tasksOnPage, 1<<20, query.Get("c")
		together(func() { p.Page, err = v.api.Tasks(r.Context(), q) },
			func() { _, _ = v.api.Queues(r.Context()) }) // for chips and terms, which find it in the cache
		if err != nil {
			if code := af.CodeOf(err); code != af.ErrInvalidArgument && code != af.ErrPermissionDenied {
				return err
			}
			p.Bad, status = messageOf(err), http.StatusBadRequest
		}
	} else if _, e := v.api.Task(r.Context(), p.Line); e == nil { // what was pasted is the id of a task
		http.Redirect(w, r, s.link("tasks", p.Line), http.StatusSeeOther)
		return nil
	}
	list := func(values url.Values) string { return s.link("tasks") + "?" + values.Encode() }
	if q.Cursor != "" {
		p.First = list(url.Values{"q": {p.Line}})
	}
	if p.Page.Cursor != "" {
		p.Next = list(url.Values{"q": {p.Line}, "c": {p.Page.Cursor}})
	}
	p.Chips = v.chips(r, p.Line, q)
	p.Terms = v.terms(r, p.Keys)
	p.ByEnd, p.Orders = q.Sort == af.TasksByEnd, v.orders(p.Line, q.Sort)
	p.Command = strings.TrimSpace("af ls " + shellWord(p.Line))
	switch {
	case p.Bad != "":
	case len(p.Page.Tasks) == 0 && p.Page.Bounded:
		p.Empty = "None of the tasks looked at so far match. Continue the search below."
	case len(p.Page.Tasks) == 0 && p.Line != "":
		p.Empty = "No tasks match this filter."
	}
	return s.render(w, status, "tasks", &p)
}

// chips returns the links that select a status, with the numbers of tasks if they are known.
func (v *viewer) chips(r *http.Request, line string, q af.TaskQuery) []chip {
	counts, all := map[af.Status]af.Count{}, af.Count{}
	if q.Filter.IsZero() && q.Source == "" && q.After.IsZero() && q.Before.IsZero() && q.Code == "" {
		queues, err := v.api.Queues(r.Context())
		if err != nil {
			queues = nil // the links work without numbers
		}
		for i := range queues {
			if q.Queue != "" && queues[i].Name != q.Queue {
				continue
			}
			for s, n := range queues[i].Counts {
				counts[s] = af.Count{N: counts[s].N + n.N, AtLeast: counts[s].AtLeast || n.AtLeast}
				all = af.Count{N: all.N + n.N, AtLeast: all.AtLeast || n.AtLeast}
			}
		}
	}
	rest := without(line, "status:", "code:")
	chips := []chip{{Text: "all", Link: v.TasksLink(rest), On: len(q.Statuses) == 0}}
	if all.N > 0 {
		chips[0].N = counted(all)
	}
	for _, s := range statuses {
		c := chip{Text: string(s), Status: s, Link: v.TasksLink(strings.TrimSpace(rest + " status:" + string(s))),
			On: slices.Contains(q.Statuses, s)}
		if n, ok := counts[s]; ok && n.N > 0 {
			c.N = counted(n)
		}
		chips = append(chips, c)
	}
	return chips
}

// A term is a beginning of a term of a filter, or a whole one.
type term struct{ Value, Label string }

// maxQueueTerms is how many queues are offered.
const maxQueueTerms = 100

// terms returns what completes a filter.
func (v *viewer) terms(r *http.Request, keys []filter.Key) (terms []term) {
	for _, k := range keys {
		values := k.Values
		if k.Name == "queue" {
			if queues, err := v.api.Queues(r.Context()); err == nil { // without them, the key is offered
				for i := range queues[:min(len(queues), maxQueueTerms)] {
					values = append(values, quoted(queues[i].Name))
				}
			}
		}
		if len(values) == 0 {
			terms = append(terms, term{k.Prefix, k.Doc})
		}
		for _, value := range values {
			terms = append(terms, term{k.Prefix + value, k.Doc})
		}
	}
	return terms
}

// orders returns the links that choose the order of the list.
func (v *viewer) orders(line string, sort af.TaskSort) (all []choice) {
	rest := without(line, "sort:")
	for _, o := range []struct {
		text, term string
		sort       af.TaskSort
	}{{"newest", "", af.TasksByNewest}, {"oldest", " sort:oldest", af.TasksByOldest},
		{"last ended", " sort:ended", af.TasksByEnd}} {
		all = append(all, choice{Text: o.text, Link: v.TasksLink(strings.TrimSpace(rest + o.term)), On: sort == o.sort})
	}
	return all
}

// without returns a filter line without the terms that begin with one of the prefixes.
func without(line string, prefixes ...string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(line), func(term string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(term, p) })
	}), " ")
}

// shellWord returns a text as a word of a shell's command line, or "" for no word.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:=/+@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// What is what the list tells about a task in its widest column.
func (p *tasksPage) What(t *af.Task) string {
	switch {
	case t.Error != nil && t.Status != af.StatusSuccess:
		return t.Error.Message
	case t.Status == af.StatusRunning && len(t.Progress) > 0 && len(t.Progress) < 200:
		return string(t.Progress)
	case len(t.Payload) > 0:
		return string(t.Payload[:min(len(t.Payload), 400)])
	}
	return ""
}

// ErrorOf returns the code of a task's error, or "".
func (p *tasksPage) ErrorOf(t *af.Task) af.Code {
	if t.Error == nil || t.Status == af.StatusSuccess {
		return ""
	}
	return t.Error.Code
}
