package admin

import (
	"fmt"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// clock returns a time of day, with its date unless it is within twelve hours of now.
func clock(t, now time.Time) string {
	if t.Sub(now).Abs() < 12*time.Hour {
		return t.UTC().Format("15:04:05")
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// about returns a duration to two digits or so.
func about(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d.Round(time.Second) < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24+0.5))
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"): // process
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func instances(n int) string {
	if n == 1 {
		return "the only instance"
	}
	return fmt.Sprintf("all %d instances", n)
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// outOf returns " of n", or nothing if n is unknown.
func outOf(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d", n)
}

func sentence(text string) string { return strings.TrimRight(text, ".") + "." }

func list(texts []string) string {
	const most = 5
	if n := len(texts) - most; n > 0 {
		return strings.Join(texts[:most], ", ") + fmt.Sprintf(" and %d others", n)
	}
	return strings.Join(texts, ", ")
}

// attempts returns the most attempts of a task, or 0 if its worker decides.
func attempts(t *af.Task) int {
	if t.Retries == nil {
		return 0
	}
	return *t.Retries + 1
}

// place returns where a task runs, in words.
func (e *Evidence) place() string {
	switch {
	case e.Instance == "":
		return "an instance of an earlier version"
	case e.IP == "":
		return e.Instance
	}
	return e.Instance + " (" + e.IP + ")"
}

func (e *Evidence) fail(t *af.Task) {
	if t.Error != nil {
		e.Code, e.Message = t.Error.Code, t.Error.Message
	}
}

func placesOf(workers []af.WorkerInfo) []Place {
	workers = workers[:min(len(workers), mostPlaces)]
	places := make([]Place, len(workers))
	for i, w := range workers {
		places[i] = Place{w.Instance.ID, w.Instance.IP, w.Fingerprint, w.Refusal}
	}
	return places
}

// whoLimits returns who set the limits of the queue, when and why.
func (f *facts) whoLimits() Evidence {
	return Evidence{Since: f.limits.Changed, By: f.limits.By, Reason: f.limits.Reason}
}

// changed returns the same in words, or "" if it is unknown.
func (f *facts) changed() string {
	l, text := &f.limits, ""
	if !l.Changed.IsZero() {
		text += " since " + clock(l.Changed, f.now)
	}
	if l.By != "" {
		text += " by " + l.By
	}
	if l.Reason != "" {
		text += ": " + strings.TrimRight(l.Reason, ".")
	}
	return text
}

// degraded returns what makes tasks start later, or "".
func (f *facts) degraded() string {
	var modes []string
	for _, c := range f.down {
		modes = append(modes, c.Mode)
	}
	if len(modes) == 0 {
		return ""
	}
	return " (mode " + strings.Join(modes, ", ") + ")"
}
