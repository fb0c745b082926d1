package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

const (
	pausedLong = time.Hour
	// settleTime is how long workers have to apply a new limit: they poll every 5 s if the notification is lost.
	settleTime = 15 * time.Second
)

// waiting returns how many tasks of a queue have not been started.
func waiting(q *af.QueueInfo) (n af.Count) {
	for _, s := range []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRetrying} {
		n.N += q.Counts[s].N
		n.AtLeast = n.AtLeast || q.Counts[s].AtLeast
	}
	return n
}

func (f *facts) unserved() (found []Finding) {
	for i := range f.overview.Queues {
		q := &f.overview.Queues[i]
		n := waiting(q)
		if q.Workers > 0 || n.N == 0 {
			continue
		}
		last := "none is known to have run one"
		if !q.Served.IsZero() {
			last = "the last one was seen on " + q.Served.UTC().Format(time.DateOnly)
		}
		found = append(found, problem("af ls "+word("queue:"+q.Name), "queue %q has %s, and no instance runs its worker; %s",
			q.Name, countOf(n, "waiting task"), last))
	}
	return found
}

func (f *facts) paused() (found []Finding) {
	for i := range f.overview.Queues {
		q := &f.overview.Queues[i]
		l := &q.Limits
		if !l.Changed.IsZero() && f.now.Sub(l.Changed) < pausedLong {
			continue
		}
		switch {
		case l.Paused:
			found = append(found, problem("af resume "+word(q.Name), "queue %q is paused%s", q.Name, f.changed(l.Changed,
				l.By, l.Reason)))
		case l.Max != nil && *l.Max == 0 && len(l.At) == 0 && waiting(q).N > 0:
			found = append(found, problem("af max "+word(q.Name)+" -reset", "queue %q is limited to 0 tasks%s", q.Name,
				f.changed(l.Changed, l.By, l.Reason)))
		}
	}
	return found
}

// changed returns since when something is so, and who made it so and why, as far as that is known.
func (f *facts) changed(at time.Time, by, reason string) string {
	text := f.since(at)
	if by != "" {
		text += " by " + by
	}
	if reason != "" {
		text += ": " + strings.TrimRight(reason, ".")
	}
	return text
}

func (f *facts) since(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " for " + text.Duration(max(f.now.Sub(at), 0))
}

func (f *facts) unapplied() (found []Finding) {
	changed := map[string]time.Time{}
	for i := range f.overview.Queues {
		changed[f.overview.Queues[i].Name] = f.overview.Queues[i].Limits.Changed
	}
	for i := range f.workers {
		w := &f.workers[i]
		if w.Draining || w.Applied == w.Wanted || w.Refusal != "" || f.now.Sub(changed[w.Queue]) < settleTime {
			continue
		}
		found = append(found, problem("af instances", "instance %s runs up to %d tasks of queue %q, but its limit is %d%s",
			place(w.Instance), w.Applied, w.Queue, w.Wanted, f.since(changed[w.Queue])))
	}
	return found
}

func (f *facts) refusing() (found []Finding) {
	for i := range f.workers {
		if w := &f.workers[i]; w.Refusal != "" && !w.Draining {
			found = append(found, problem("af instances", "instance %s claims no tasks of queue %q: %s", place(w.Instance),
				w.Queue, w.Refusal))
		}
	}
	return found
}

func (f *facts) abandoned() (found []Finding) {
	for i := range f.workers {
		w := &f.workers[i]
		if w.Abandoned == 0 {
			continue
		}
		found = append(found, problem("Restart the instance to free the slots. Its log has the stacks of these handlers.",
			"%s of queue %q on instance %s: contexts have ended, but the handlers have not returned, and keep %d of %s",
			count(w.Abandoned, "abandoned handler"), w.Queue, place(w.Instance), w.Abandoned, count(max(w.Wanted, w.Applied,
				w.Abandoned), "slot")))
	}
	return found
}

func (f *facts) late() (found []Finding) {
	for i := range f.overview.Queues {
		q := &f.overview.Queues[i]
		if q.Oldest.IsZero() || q.Limits.Paused || q.Workers == 0 || q.Running >= q.Slots {
			continue
		}
		if wait := f.now.Sub(q.Oldest); wait >= f.after {
			found = append(found, problem("af ls "+word("queue:"+q.Name)+" status:waiting",
				"a task of queue %q has been ready for %s although %d of %s are free", q.Name, text.Duration(wait),
				q.Slots-q.Running, count(q.Slots, "slot")))
		}
	}
	return found
}

// count returns a number of things.
func count(n int, noun string) string { return countOf(af.Count{N: n}, noun) }

func countOf(n af.Count, noun string) string {
	if n.N == 1 && !n.AtLeast {
		return "1 " + noun
	}
	return text.Count(n) + " " + noun + "s"
}

// place returns an instance, as people look for it.
func place(in af.Instance) string {
	if in.IP == "" {
		return in.ID
	}
	return fmt.Sprintf("%s (%s)", in.ID, in.IP)
}

// plain has the characters that no shell interprets.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@%+=-"

// word returns a text as one word of a shell. Names come from the system, and commands are copied.
func word(s string) string {
	if s != "" && s[0] != '-' && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
