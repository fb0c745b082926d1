package dashboard

import (
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A viewer is a user who reads one page. Its exported methods are for templates.
type viewer struct {
	*server
	user admin.User
	api  admin.API // restricted to the user
	now  time.Time
	path string // of the page, without the prefix
}

// A frame is what every page has.
type frame struct {
	*viewer
	Title string
	Nav   string // the marked entry of the navigation
	Done  string // what the last request has changed, in words
	Watch string // the id of the task whose changes the page must learn, or ""
}

// User returns the user's name.
func (v *viewer) User() string { return v.user.Name }

// Can reports whether the user may call a method of admin.API, to leave out buttons. The Guard decides.
func (v *viewer) Can(method string) bool { return v.user.Check(method) == nil }

// ReadOnly reports whether the user may change nothing.
func (v *viewer) ReadOnly() bool { return v.user.Check("") != nil }

// Hint tells a user who may not do everything how to get rights, or returns "".
func (v *viewer) Hint() string {
	var missing []string
	for _, r := range admin.AllRights() {
		if !v.user.Has(r) {
			missing = append(missing, string(r))
		}
	}
	const given = " Rights are given by those who run this program: its function for dashboard.Authorize returns them " +
		"for your name."
	if v.ReadOnly() && v.noRights != nil {
		if text := v.noRights(); text != "" {
			return text
		}
	}
	switch {
	case v.ReadOnly():
		return "You may change nothing here." + given
	case missing != nil:
		return "You do not have all rights. You lack: " + strings.Join(missing, ", ") + "." + given
	}
	return ""
}

// Redacts reports whether values are shown as [RedactPayload] returns them.
func (v *viewer) Redacts() bool { return v.redact != nil }

// Link returns the path of a page.
func (v *viewer) Link(elements ...string) string { return v.link(elements...) }

// TasksLink returns the path of the list of tasks that a filter line selects.
func (v *viewer) TasksLink(line string) string {
	return v.link("tasks") + "?" + url.Values{"q": {line}}.Encode()
}

// Asset returns the path of an embedded file. It changes with the file, so that browsers may keep it.
func (v *viewer) Asset(name string) string {
	return v.link("assets", name) + "?v=" + assets[name].version
}

// Ago returns a time relative to now, with the absolute one as its title.
func (v *viewer) Ago(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return v.timed(t, relative(t.Sub(v.now)))
}

// Clock returns a time of day, with its date unless it is today.
func (v *viewer) Clock(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	t, now := t.UTC(), v.now.UTC()
	layout := "2006-01-02 15:04:05"
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		layout = "15:04:05"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s" data-at>%s</time>`,
		t.Format(time.RFC3339Nano), absolute(t), t.Format(layout)))
}

func (v *viewer) timed(t time.Time, text string) template.HTML {
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s" data-rel>%s</time>`,
		t.UTC().Format(time.RFC3339Nano), absolute(t), text))
}

func absolute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// relative returns how far a time is from now: 5 s ago, in 3 min. The script does the same.
func relative(d time.Duration) string {
	switch {
	case d <= -time.Second:
		return span(-d) + " ago"
	case d < time.Second:
		return "now"
	}
	return "in " + span(d)
}

// span returns a duration in one unit, rounded down.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

// Span returns how long something took, to about three digits.
func (v *viewer) Span(d time.Duration) string { return took(d) }

// Between returns how long it is from a time to another, or to now if that is zero.
func (v *viewer) Between(from, to time.Time) string {
	if from.IsZero() {
		return ""
	}
	if to.IsZero() {
		to = v.now
	}
	return took(to.Sub(from))
}

func took(d time.Duration) string {
	switch d = max(d, 0); {
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.Itoa(int(d.Microseconds())) + " µs"
	case d < time.Second:
		return strconv.Itoa(int(d.Milliseconds())) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// Num returns a number with its digits in groups.
func (v *viewer) Num(n int) string { return number(int64(n)) }

// Num64 is Num for other integers.
func (v *viewer) Num64(n int64) string { return number(n) }

func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Count returns a bounded number, such as ≥ 10,000.
func (v *viewer) Count(n af.Count) string { return counted(n) }

func counted(n af.Count) string {
	if n.AtLeast {
		return "≥ " + number(int64(n.N))
	}
	return number(int64(n.N))
}

// Rate returns a number per minute.
func (v *viewer) Rate(perMinute float64) string {
	switch {
	case perMinute >= 10, perMinute == 0:
		return number(int64(perMinute + 0.5))
	}
	return strconv.FormatFloat(perMinute, 'f', 1, 64)
}

// Text returns a text of the system as it may be shown: control characters, and marks that change the direction of the
// text around them, are replaced.
func (v *viewer) Text(s string) string { return clean(s) }

// Cut is Text, of at most n characters.
func (v *viewer) Cut(n int, s string) string {
	s = clean(strings.ReplaceAll(s[:min(len(s), 8*n)], "\n", " "))
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// Status returns a badge of a status: an icon and the word.
func (v *viewer) Status(s af.Status) template.HTML { return badge(string(s), string(s)) }

// Outcome returns a badge of the outcome of an attempt.
func (v *viewer) Outcome(o af.AttemptOutcome) template.HTML { return badge(string(o), string(o)) }

// Badge returns a badge with another text than its kind.
func (v *viewer) Badge(kind, text string) template.HTML { return badge(kind, text) }

// badges has the kinds that the style sheet and the sprite of icons have.
var badges = map[string]bool{"waiting": true, "pending": true, "running": true, "retrying": true, "success": true,
	"failed": true, "stopped": true, "returned": true, "lost": true, "paused": true, "stopping": true, "ok": true,
	"warn": true}

func badge(kind, text string) template.HTML {
	if !badges[kind] {
		kind = "waiting"
	}
	return template.HTML(`<span class="badge s-` + kind + `">` + string(icon(kind)) +
		template.HTMLEscapeString(clean(text)) + `</span>`)
}

// Icon returns an icon of the sprite.
func (v *viewer) Icon(name string) template.HTML { return icon(name) }

func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" aria-hidden="true"><use href="#i-` + template.HTMLEscapeString(name) +
		`"/></svg>`)
}

// Trace returns the address of a task's trace in another system, or "".
func (v *viewer) Trace(traceparent string) string {
	id := traceID(traceparent)
	if id == "" || v.traceLink == "" {
		return ""
	}
	return strings.ReplaceAll(v.traceLink, "{trace}", id)
}

// traceID returns the trace id of a traceparent, or "".
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 3 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// Depth returns the class of a level of a tree.
func (v *viewer) Depth(n int) int { return min(n, 8) }

// Tally returns how many subtasks have ended, such as 3/5.
func (v *viewer) Tally(counts map[af.Status]af.Count) string {
	ended, total, more := 0, 0, false
	for s, n := range counts {
		total, more = total+n.N, more || n.AtLeast
		if s.Final() {
			ended += n.N
		}
	}
	return number(int64(ended)) + "/" + counted(af.Count{N: total, AtLeast: more})
}

// logLine matches what slog.TextHandler writes: the time and its time of day, the level, the message and the rest.
var logLine = regexp.MustCompile(
	`(?s)^time=(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d(?:\.\d+)?)\S*) level=(\S+) msg=("(?:[^"\\]|\\.)*"|\S*)(.*)$`)

// LogLine returns a line of a log with its parts marked. The script does the same with the lines that it follows.
func (v *viewer) LogLine(line string) template.HTML {
	line = clean(line)
	class := "l"
	switch {
	case strings.Contains(line, "level=ERROR"):
		class = "l-error"
	case strings.Contains(line, "level=WARN"):
		class = "l-warn"
	}
	esc := template.HTMLEscapeString
	m := logLine.FindStringSubmatch(line)
	if m == nil {
		return template.HTML(`<span class="` + class + `">` + esc(line) + "\n</span>")
	}
	msg := m[4]
	if strings.HasPrefix(msg, `"`) && !strings.Contains(msg, `\`) {
		msg = strings.Trim(msg, `"`)
	}
	return template.HTML(`<span class="` + class + `"><span class="l-t" title="` + esc(m[1]) + `">` + esc(m[2]) +
		`</span> <span class="l-l">` + esc(m[3]) + `</span> ` + esc(msg) + `<span class="l-a">` + esc(m[5]) +
		"</span>\n</span>")
}

// Ran returns how long the last attempt of a task took, or has taken.
func (v *viewer) Ran(t af.Task) string {
	switch {
	case t.Started.IsZero():
		return ""
	case t.Status == af.StatusRunning:
		return took(v.now.Sub(t.Started))
	case t.Ended.IsZero():
		return ""
	}
	return took(t.Ended.Sub(t.Started))
}

// Zero returns a bounded number, and nothing for zero: what is there is easier to see.
func (v *viewer) Zero(n af.Count) template.HTML {
	if n.N == 0 {
		return `<span class="none">–</span>`
	}
	return template.HTML(counted(n))
}

// Share returns how much of a queue's slots are taken, in percent.
func (q queueRow) Share() float64 { return float64(q.Running) / float64(max(q.Most, 1)) * 100 }

// QueueLink returns the path of the tasks of the page's queue that a filter selects.
func (p *queuePage) QueueLink(line string) string {
	return p.TasksLink(strings.TrimSpace("queue:" + quoted(p.Q.Name) + " " + line))
}

// quoted returns a value of a filter line.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t\"\\,") || s == "" || clean(s) != s {
		return strconv.Quote(s)
	}
	return s
}
