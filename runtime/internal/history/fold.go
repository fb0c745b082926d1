package history

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	foldAfter = 2 * time.Hour // age of windows that are folded
	keptFor   = 7 * 24 * time.Hour
	foldPage  = 100  // documents read at once
	maxFolded = 5000 // windows of an hour that a round folds; the next round continues
)

// foldable returns the hour before which all windows are folded.
func foldable(now time.Time) string { return hourOf(now.Add(-foldAfter)) }

// Fold folds the windows of hours that ended 2 hours ago into one document an hour, and deletes hours that are older
// than a week. One process of the system should call it every minute, with the store's time. It has something to do
// once an hour. What it can't complete until ctx ends, a later call does, possibly of another process.
//
// An hour lists the windows that it contains, and is replaced only if it has not changed. So windows that were not
// deleted because a process died, or that two processes fold at once, are not added twice.
func (r *Recorder) Fold(ctx context.Context, now time.Time) {
	until := foldable(now)
	if r.Docs == nil || r.folded == until {
		return
	}
	err := r.foldBefore(ctx, now, until)
	if err == nil {
		err = r.expire(ctx, now)
	}
	if err != nil {
		r.Log.Debug("folding the history failed, retrying later", "error", err)
		return
	}
	r.folded = until
}

// foldBefore folds the windows of all hours before one.
func (r *Recorder) foldBefore(ctx context.Context, now time.Time, until string) error {
	for {
		docs, err := r.latest(ctx, minutesPrefix, minutesPrefix+until, foldPage)
		if err != nil || len(docs) == 0 {
			return err
		}
		hour, ok := hourIn(docs[0].Name)
		if !ok { // of another version
			if err := r.delete(ctx, docs[:1]); err != nil {
				return err
			}
			continue
		}
		if err := r.foldHour(ctx, now, hour, docs); err != nil {
			return err
		}
	}
}

// hourIn returns the hour in the name of a window's document.
func hourIn(name string) (hour string, ok bool) {
	at, _, _, ok := parseWindow(name)
	return hourOf(at), ok
}

// foldHour folds the windows of an hour, of which docs are the latest.
func (r *Recorder) foldHour(ctx context.Context, now time.Time, hour string, docs []backend.Doc) error {
	var old document
	queues := map[string]*Totals{}
	name := hoursPrefix + hour
	doc, err := r.get(ctx, name)
	if err != nil {
		return err
	}
	if json.Unmarshal(doc.Value, &old) != nil {
		old = document{} // there is none, or it is not readable
	}
	addAll(queues, &old)
	var folded []backend.Doc
	changed := false
	for len(docs) > 0 && len(folded) < maxFolded {
		for _, d := range docs {
			in, ok := hourIn(d.Name)
			if ok && in != hour {
				docs = nil
				break
			}
			_, instance, seq, _ := parseWindow(d.Name)
			var w document
			if ok && !old.contains(instance, seq) && json.Unmarshal(d.Value, &w) == nil {
				addAll(queues, &w)
				old.include(instance, seq)
				changed = true
			}
			folded = append(folded, backend.Doc{Name: d.Name, Revision: d.Revision})
		}
		if len(docs) == 0 {
			break
		}
		if docs, err = r.latest(ctx, minutesPrefix+hour, folded[len(folded)-1].Name, foldPage); err != nil {
			return err
		}
	}
	if changed && hoursPrefix+hour >= expiredBefore(now) {
		if old.Queues, err = encode(queues, maxHourBytes); err != nil {
			return err
		}
		value, err := json.Marshal(old)
		if err != nil {
			return err
		}
		err = retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
			_, err := r.Docs.PutIf(ctx, name, doc.Revision, value)
			return err
		})
		if err != nil { // also if it was written, in a try before: then the next round deletes the windows
			return err
		}
	}
	return r.delete(ctx, folded)
}

// addAll adds the numbers of a document's queues to queues.
func addAll(queues map[string]*Totals, d *document) {
	for name, value := range d.Queues {
		var t Totals
		if json.Unmarshal(value, &t) != nil {
			continue
		}
		if sum := queues[name]; sum != nil {
			sum.Add(&t)
		} else {
			queues[name] = &t
		}
	}
}

// expire deletes the hours that are no longer kept.
func (r *Recorder) expire(ctx context.Context, now time.Time) error {
	for {
		docs, err := r.latest(ctx, hoursPrefix, expiredBefore(now), foldPage)
		if err != nil || len(docs) == 0 {
			return err
		}
		if err := r.delete(ctx, docs); err != nil {
			return err
		}
	}
}

// expiredBefore returns the name before which hours are no longer kept.
func expiredBefore(now time.Time) string { return hoursPrefix + hourOf(now.Add(-keptFor)) }

func (r *Recorder) delete(ctx context.Context, docs []backend.Doc) error {
	for _, d := range docs {
		err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
			return r.Docs.Delete(ctx, d.Name, d.Revision)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// get returns a document, or an empty one if there is none.
func (r *Recorder) get(ctx context.Context, name string) (doc backend.Doc, err error) {
	err = retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		doc, err = r.Docs.Get(ctx, name)
		return err
	})
	if backend.CodeOf(err) == backend.ErrNotFound {
		return backend.Doc{Name: name}, nil
	}
	return doc, err
}

func (r *Recorder) latest(ctx context.Context, prefix, before string, max int) (docs []backend.Doc, err error) {
	err = retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		docs, err = r.Docs.Latest(ctx, prefix, before, max)
		return err
	})
	return docs, err
}
