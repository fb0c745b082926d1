package history

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Query selects the history of a period.
type Query struct {
	Queue    string    // "" adds up all
	From, To time.Time // zero means an hour before To, and now
	Step     time.Duration
}

// A Point is what happened in the step that begins at Start.
type Point struct {
	Start time.Time
	Totals
}

const (
	maxPoints = 10_000
	readPage  = 200             // windows read at once
	hoursPage = 24              // hours read at once
	soon      = 5 * time.Minute // hours that are folded within it may be folded while they are read
)

// Read returns the points of a period, oldest first. The first one begins at or before From, at a multiple of Step.
// Hours that were folded count where they begin. What this process has not yet written is included.
func (r *Recorder) Read(ctx context.Context, q Query) ([]Point, error) {
	if r.Docs == nil {
		return nil, backend.NewError(backend.ErrUnimplemented, "the backend does not support documents").
			With(backend.OutcomeNotSent)
	}
	now, err := r.now(ctx)
	if err != nil {
		return nil, backend.AsError(err)
	}
	points, err := q.points(now)
	if err != nil || len(points) == 0 {
		return nil, err
	}
	rd := reader{r: r, q: q, points: points, from: points[0].Start, local: r.local(q.Queue)}
	rd.step = q.step(now)
	rd.to = points[len(points)-1].Start.Add(rd.step)
	// Windows first: one that is folded meanwhile is in the hour, which lists it.
	if err := rd.windows(ctx, foldable(now.Add(soon))); err != nil {
		return nil, backend.AsError(err)
	}
	if err := rd.hours(ctx); err != nil {
		return nil, backend.AsError(err)
	}
	for _, w := range rd.held {
		rd.add(w.at, &w.totals)
	}
	for _, w := range rd.local {
		rd.add(w.at, &w.totals)
	}
	return points, nil
}

// step returns the length of a point.
func (q *Query) step(now time.Time) time.Duration {
	switch {
	case q.Step != 0:
		return q.Step
	case !q.From.IsZero() && q.From.Before(now.Add(-foldAfter)):
		return time.Hour
	}
	return minute
}

// points returns the empty points of a query.
func (q *Query) points(now time.Time) ([]Point, error) {
	step, from, to := q.step(now), q.From, q.To
	if step < 0 || step%minute != 0 {
		return nil, refusal("step %v is not whole minutes", step)
	}
	if to.IsZero() {
		to = now.Add(1) // the end is not included
	}
	if from.IsZero() {
		from = to.Add(-time.Hour)
	}
	if from.After(to) {
		return nil, refusal("from %v is after to %v", from, to)
	}
	from = from.UTC().Truncate(step)
	n := to.Sub(from) / step // saturates
	if n >= maxPoints {
		return nil, refusal("more than %d points: use a longer step or a shorter period", maxPoints)
	}
	if from.Add(n * step).Before(to) {
		n++
	}
	points := make([]Point, n)
	for i := range points {
		points[i].Start = from.Add(time.Duration(i) * step)
	}
	return points, nil
}

func refusal(format string, args ...any) error {
	return backend.Errorf(backend.ErrInvalidArgument, "history: "+format, args...).With(backend.OutcomeNotSent)
}

// A heldWindow is a window that is not added yet, because it may be found elsewhere, too.
type heldWindow struct {
	at       time.Time
	instance string
	seq      int64
	totals   Totals
}

// local returns the windows of this process that are not written, with the numbers of a queue.
func (r *Recorder) local(queue string) map[int64]*heldWindow {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	local := map[int64]*heldWindow{}
	for _, w := range append(r.unwritten[:len(r.unwritten):len(r.unwritten)], r.open) {
		held := &heldWindow{at: r.middle(w, now), instance: r.Instance, seq: w.seq}
		for name, t := range w.queues {
			if queue == "" || queue == name {
				held.totals.Add(t)
			}
		}
		local[w.seq] = held
	}
	return local
}

// A reader adds stored history to points.
type reader struct {
	r        *Recorder
	q        Query
	points   []Point
	from, to time.Time
	step     time.Duration
	local    map[int64]*heldWindow // of this process, not found in the store so far, by number
	held     []*heldWindow         // of hours that may be folded, not found in an hour so far
}

// add adds numbers to the point that t is in.
func (rd *reader) add(t time.Time, totals *Totals) {
	if !t.Before(rd.from) && t.Before(rd.to) {
		rd.points[t.Sub(rd.from)/rd.step].Add(totals)
	}
}

// windows adds the windows of the period. It holds those of hours before one.
func (rd *reader) windows(ctx context.Context, before string) error {
	first := minutesPrefix + minuteOf(rd.from)
	return rd.pages(ctx, minutesPrefix, minutesPrefix+minuteOf(rd.to), first, readPage, func(d backend.Doc) {
		at, instance, seq, ok := parseWindow(d.Name)
		var content document
		if !ok || json.Unmarshal(d.Value, &content) != nil {
			return
		}
		if instance == rd.r.Instance {
			delete(rd.local, seq)
		}
		w := &heldWindow{at: at, instance: instance, seq: seq}
		content.addTo(&w.totals, rd.q.Queue)
		if hourOf(at) < before {
			rd.held = append(rd.held, w)
		} else {
			rd.add(at, &w.totals)
		}
	})
}

// hours adds the hours of the period, and drops the held windows that these contain.
func (rd *reader) hours(ctx context.Context) error {
	first := hoursPrefix + hourOf(rd.from)
	before := hoursPrefix + hourOf(rd.to.Add(time.Hour-1)) // the first hour that begins at or after the end
	return rd.pages(ctx, hoursPrefix, before, first, hoursPage, func(d backend.Doc) {
		at, err := time.Parse(hourFormat, strings.TrimPrefix(d.Name, hoursPrefix))
		var content document
		if err != nil || json.Unmarshal(d.Value, &content) != nil {
			return
		}
		left := rd.held[:0]
		for _, w := range rd.held {
			if !content.contains(w.instance, w.seq) {
				left = append(left, w)
			}
		}
		rd.held = left
		for seq := range rd.local {
			if content.contains(rd.r.Instance, seq) {
				delete(rd.local, seq)
			}
		}
		var t Totals
		content.addTo(&t, rd.q.Queue)
		rd.add(at, &t)
	})
}

// pages calls f for the documents whose names start with prefix and are at least first and less than before, page by
// page, latest first.
func (rd *reader) pages(ctx context.Context, prefix, before, first string, size int, f func(backend.Doc)) error {
	for {
		docs, err := rd.r.latest(ctx, prefix, before, size)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if d.Name < first {
				return nil
			}
			f(d)
		}
		if len(docs) < size {
			return nil
		}
		before = docs[len(docs)-1].Name
	}
}
