package dashboard

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// headings has the heading of each rule, and the kind of its badge.
var headings = map[admin.Rule][2]string{
	admin.RuleStopping:    {"stopping", "Stopping"},
	admin.RuleLost:        {"lost", "Its instance is gone"},
	admin.RuleRunning:     {"running", "Running"},
	admin.RuleUncommitted: {"waiting", "Its batch is not committed"},
	admin.RuleGated:       {"waiting", "Waits for its source task"},
	admin.RuleOverdue:     {"failed", "Past its deadline"},
	admin.RuleVersion:     {"warn", "Needs a worker of its version"},
	admin.RuleNotDue:      {"waiting", "Not due yet"},
	admin.RuleUnavailable: {"warn", "A server is unavailable"},
	admin.RulePaused:      {"paused", "Its queue is paused"},
	admin.RuleNoWorker:    {"warn", "No worker"},
	admin.RuleDraining:    {"warn", "Its workers are shutting down"},
	admin.RuleNotAllowed:  {"warn", "No allowed instance"},
	admin.RuleLimitZero:   {"paused", "Its queue is limited to 0"},
	admin.RuleNotClaiming: {"warn", "Its workers claim nothing"},
	admin.RuleBusy:        {"waiting", "Waits in line"},
	admin.RuleSuspect:     {"warn", "Suspected of killing its process"},
	admin.RuleHintLost:    {"waiting", "Its wake-up message was lost"},
	admin.RuleDue:         {"pending", "About to start"},
	admin.RuleDeadline:    {"warn", "Its deadline comes soon"},
}

// Heading returns the heading of a rule.
func (v *viewer) Heading(r admin.Rule) string {
	if h, ok := headings[r]; ok {
		return h[1]
	}
	return strings.ReplaceAll(string(r), "_", " ")
}

// why returns what the page shows of an explanation.
func (v *viewer) why(t *admin.Task) *whyPart {
	answer := t.Why.Rules[0]
	p := &whyPart{Kind: "waiting", Title: v.Heading(answer.Rule), Answer: answer, Also: t.Why.Rules[1:]}
	if h, ok := headings[answer.Rule]; ok {
		p.Kind = h[0]
	}
	switch {
	case answer.Rule == admin.RuleEnded:
		p.Kind = string(t.Status)
		p.Title = map[af.Status]string{af.StatusSuccess: "Succeeded", af.StatusFailed: "Failed",
			af.StatusStopped: "Stopped"}[t.Status]
	case answer.Rule == admin.RuleNotDue && t.Status == af.StatusRetrying:
		p.Kind, p.Title = "retrying", "Waits to try again"
	}
	p.Facts = v.evidence(&answer)
	for _, text := range answer.Help { // those that name the API are buttons here
		if !strings.Contains(text, "App.") && !strings.Contains(text, "af.") {
			p.Help = append(p.Help, text)
		}
	}
	p.Ways = v.ways(t, answer.Rule)
	return p
}

// ways returns the links and forms that would help with a rule. Those that the user may not use are left out.
func (v *viewer) ways(t *admin.Task, rule admin.Rule) (ways []way) {
	link := func(text string, elements ...string) { ways = append(ways, way{Text: text, Link: v.link(elements...)}) }
	post := func(method, text string, elements ...string) {
		if v.Can(method) {
			ways = append(ways, way{Text: text, Post: v.link(elements...)})
		}
	}
	switch rule {
	case admin.RuleEnded:
		if t.RetriedBy != "" {
			link("Task that retries it", "tasks", t.RetriedBy)
		} else if t.Status == af.StatusFailed || t.Status == af.StatusStopped {
			post("Retry", "Retry", "tasks", t.ID, "retry")
		}
		if t.Status == af.StatusFailed && t.Error != nil {
			ways = append(ways, way{Text: "Tasks with this error",
				Link: v.TasksLink("queue:" + quoted(t.Queue) + " code:" + string(t.Error.Code))})
		}
	case admin.RuleRunning, admin.RuleLost:
		if v.Can("Stop") {
			ways = append(ways, way{Text: "Stop", Post: v.link("tasks", t.ID, "stop"), Danger: true})
		}
	case admin.RuleGated, admin.RuleUncommitted:
		link("Source task", "tasks", t.Source)
	case admin.RuleNotDue:
		post("RunNow", "Run now", "tasks", t.ID, "run")
	case admin.RulePaused:
		post("Resume", "Resume queue "+t.Queue, "queues", t.Queue, "resume")
	case admin.RuleLimitZero, admin.RuleBusy:
		link("Limits of queue "+t.Queue, "queues", t.Queue)
	case admin.RuleNoWorker, admin.RuleDraining, admin.RuleNotAllowed, admin.RuleNotClaiming, admin.RuleVersion:
		link("Workers of queue "+t.Queue, "queues", t.Queue)
	}
	return ways
}

// evidence returns what a finding rests on, as far as its sentence does not tell it in a better way.
func (v *viewer) evidence(f *admin.Finding) (facts []fact) {
	e := &f.Evidence
	add := func(name string, html template.HTML) { facts = append(facts, fact{name, html}) }
	text := func(name, s string) {
		if s != "" {
			add(name, template.HTML(template.HTMLEscapeString(clean(s))))
		}
	}
	if !e.Since.IsZero() {
		add("Since", v.Ago(e.Since))
	}
	if !e.Until.IsZero() {
		name := map[admin.Rule]string{admin.RuleBusy: "Estimated start", admin.RuleNotDue: "Due",
			admin.RuleRunning: "Times out", admin.RuleDeadline: "Deadline"}[f.Rule]
		if name == "" {
			name = "At the latest"
		}
		add(name, v.Ago(e.Until))
	}
	text("Instance", e.Instance)
	text("Address", e.IP)
	if e.Attempt > 0 {
		attempt := number(int64(e.Attempt))
		if e.Attempts > 0 {
			attempt += " of " + number(int64(e.Attempts))
		}
		text("Attempt", attempt)
	}
	if e.Code != "" {
		add("Error", code(e.Code))
	}
	text("By", e.By)
	text("Reason", e.Reason)
	if e.Slots > 0 {
		text("Slots", fmt.Sprintf("%d of %d taken", e.Taken, e.Slots))
	}
	if !e.Oldest.IsZero() {
		add("Oldest running", v.Ago(e.Oldest))
	}
	if e.Ahead != nil {
		text("Before it", counted(*e.Ahead)+" tasks")
	}
	if e.PerMinute > 0 {
		text("Queue starts", v.Rate(e.PerMinute)+" a minute")
	}
	if e.Losses > 0 {
		text("Processes lost", number(int64(e.Losses)))
	}
	if e.MaxCrashes > 0 {
		text("Crashes", fmt.Sprintf("%d of %d", e.Crashes, e.MaxCrashes))
	}
	if !e.Served.IsZero() {
		add("Last worker", v.Ago(e.Served))
	}
	text("Version", e.Version)
	text("Allowed", strings.Join(e.Allow, ", "))
	if e.SourceStatus != "" {
		add("Source", v.Status(e.SourceStatus))
	}
	for _, c := range e.Conditions {
		text(c.Name, c.Cause+": "+c.Lost)
	}
	return slices.Clip(facts)
}

// Code returns an error's code.
func (v *viewer) Code(c af.Code) template.HTML { return code(c) }

func code(c af.Code) template.HTML {
	return template.HTML(`<code class="code">` + template.HTMLEscapeString(clean(string(c))) + `</code>`)
}
