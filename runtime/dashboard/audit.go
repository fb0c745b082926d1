package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	af "github.com/afgen/afgen/runtime"
)

const entriesOnPage = 100

// An auditPage is the data of the page of changes.
type auditPage struct {
	frame
	By, Action, Target string
	Entries            []auditRow
	Actions            []string // those that are known, to choose from
	First, Next        string
	Filtered           bool
}

// An auditRow is a change, and the page of what it has changed.
type auditRow struct {
	af.AuditEntry
	Link string // "" if there is none
}

// auditActions are the actions that this version records.
var auditActions = []string{"job.disable", "job.enable", "job.put", "job.remove", "job.run", "queue.max", "queue.pause",
	"queue.reset", "queue.resume", "service.call", "task.delete", "task.retry", "task.reweigh", "task.run", "task.stop",
	"task.submit", "tasks.delete", "tasks.retry", "tasks.stop"}

func (s *server) audit(v *viewer, w http.ResponseWriter, r *http.Request) error {
	form := r.URL.Query()
	text := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	p := auditPage{By: text("by"), Action: text("action"), Target: text("target"), Actions: auditActions}
	p.frame = frame{viewer: v, Title: "Audit", Nav: "audit"}
	cursor := form.Get("c")
	page, err := v.api.Audit(r.Context(), af.AuditQuery{By: p.By, Action: p.Action, Target: p.Target,
		Limit: entriesOnPage, Cursor: cursor})
	if err != nil {
		return err
	}
	query := url.Values{}
	for name, value := range map[string]string{"by": p.By, "action": p.Action, "target": p.Target} {
		if value != "" {
			query.Set(name, value)
		}
	}
	p.Filtered = len(query) > 0
	p.First, p.Next = pageLinks(s.link("audit"), query, cursor, page.Cursor)
	for _, e := range page.Entries {
		p.Entries = append(p.Entries, auditRow{e, s.targetLink(e)})
	}
	return s.render(w, http.StatusOK, "audit", &p)
}

// targetLink returns the page of what an entry has changed, or "".
func (s *server) targetLink(e af.AuditEntry) string {
	kind, verb, _ := strings.Cut(e.Action, ".")
	switch {
	case e.Target == "", verb == "delete", verb == "remove":
	case kind == "task":
		return s.link("tasks", e.Target)
	case kind == "queue":
		return s.link("queues", e.Target)
	case kind == "job":
		return s.link("jobs", e.Target)
	case kind == "service":
		if dot := strings.LastIndexByte(e.Target, '.'); dot > 0 {
			return s.link("services", e.Target[:dot], e.Target[dot+1:])
		}
	}
	return ""
}

// Only returns the path of the page with only one's changes.
func (p *auditPage) Only(by string) string {
	return p.link("audit") + "?" + url.Values{"by": {by}}.Encode()
}
