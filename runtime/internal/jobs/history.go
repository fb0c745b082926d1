package jobs

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	historyPrefix = "fires/" // of document names
	maxFires      = 200      // entries per history
	maxHistories  = maxBatch // read and written at once
	maxFireNumber = 1 << 60
)

// A History is the document fires/<id>: the last 200 fires of a job, the latest one last.
type History struct {
	N     int64          `json:"n"` // number of the last fire
	Fires []HistoryEntry `json:"fires"`
}

// A HistoryEntry is a due time that was carried out, or a task of [Catalog.Run].
type HistoryEntry struct {
	Firing        // zero for a task of Run
	N      int64  `json:"n"`              // increases with each entry
	At     int64  `json:"at"`             // when it was fired
	Task   string `json:"task,omitempty"` // the id of a task of Run
}

// entryOf returns the entry of a due time that was carried out.
func entryOf(f Firing, now time.Time) HistoryEntry {
	f.Ended, f.Sent = 0, false
	return HistoryEntry{Firing: f, At: now.Unix()}
}

// A note is entries to add to the history of a job.
type note struct {
	job     string
	entries []HistoryEntry
	err     error // whether they were added
}

// addHistory adds entries to the history of a job, except due times that it contains already.
func (c *Catalog) addHistory(ctx context.Context, id string, entries []HistoryEntry) error {
	n := &note{job: id, entries: entries}
	c.addHistories(ctx, []*note{n})
	return n.err
}

// addHistories is addHistory for different jobs. It sets the error of each note.
func (c *Catalog) addHistories(ctx context.Context, notes []*note) {
	notes = slices.DeleteFunc(slices.Clone(notes), func(n *note) bool { return len(n.entries) == 0 })
	for part := range slices.Chunk(notes, maxHistories) {
		left := slices.Clone(part)
		err := retry.Update(ctx, func(ctx context.Context) error {
			if err := c.tryHistories(ctx, left); err != nil {
				return err
			}
			left = slices.DeleteFunc(left, func(n *note) bool { return backend.CodeOf(n.err) != backend.ErrAborted })
			if len(left) > 0 {
				return left[0].err
			}
			return nil
		})
		for _, n := range left {
			n.err = err
		}
	}
}

// tryHistories sets the error of each note, or returns an error. The error of a note is ErrAborted if another process
// has changed the history meanwhile.
func (c *Catalog) tryHistories(ctx context.Context, notes []*note) error {
	names := make([]string, len(notes))
	for i, n := range notes {
		names[i] = historyPrefix + n.job
	}
	found, err := c.cfg.Docs.GetAll(ctx, names)
	if err != nil {
		return err
	}
	stored := make(map[string]backend.Doc, len(found))
	for _, d := range found {
		stored[d.Name] = d
	}
	var docs []backend.Doc
	var wrote []*note
	for i, n := range notes {
		d := stored[names[i]]
		d.Name = names[i]
		var changed bool
		if d.Value, changed, n.err = n.addTo(d.Value); changed {
			docs, wrote = append(docs, d), append(wrote, n)
		}
	}
	if len(docs) == 0 {
		return nil
	}
	puts, err := c.cfg.Docs.PutAll(ctx, docs)
	for i, p := range puts {
		wrote[i].err = p.Err
	}
	return err
}

// addTo adds the entries to a stored history, or to an empty one if value is empty, and reports whether it changed.
func (n *note) addTo(value json.RawMessage) (_ json.RawMessage, changed bool, err error) {
	var h History
	if len(value) > 0 {
		if h, err = DecodeHistory(n.job, value); err != nil {
			return nil, false, err
		}
	}
	known := map[int64]bool{} // due times
	for _, f := range h.Fires {
		known[f.Due] = f.Task == "" || known[f.Due]
	}
	before := h.N
	for _, f := range n.entries {
		if f.Task == "" && known[f.Due] {
			continue
		}
		h.N++
		f.N = h.N
		h.Fires = append(h.Fires, f)
	}
	if h.N == before {
		return nil, false, nil
	}
	h.Fires = h.Fires[max(0, len(h.Fires)-maxFires):]
	if value, err = json.Marshal(h); err != nil {
		return nil, false, backend.Errorf(backend.ErrInternal, "encoding history of job %q: %w", n.job, err)
	}
	return value, true, nil
}

// history returns the history of a job and its revision; if none is stored, an empty one and 0.
func (c *Catalog) history(ctx context.Context, id string) (h History, rev int64, err error) {
	d, err := c.cfg.Docs.Get(ctx, historyPrefix+id)
	switch {
	case backend.CodeOf(err) == backend.ErrNotFound:
		return h, 0, nil
	case err != nil:
		return h, 0, err
	}
	h, err = DecodeHistory(id, d.Value)
	return h, d.Revision, err
}

// DecodeHistory decodes the stored history of a job, or returns ErrDataLoss. It corrects impossible instants. If the
// numbers of the entries don't increase, it renumbers them, because cursors of pages contain them.
func DecodeHistory(job string, value []byte) (h History, err error) {
	if err := json.Unmarshal(value, &h); err != nil {
		return h, backend.Errorf(backend.ErrDataLoss, "decoding history of job %q: %w", job, err)
	}
	rises := true
	for i := range h.Fires {
		f := &h.Fires[i]
		f.Due, f.At = min(max(f.Due, 0), latestSecond), min(max(f.At, 0), latestSecond)
		rises = rises && f.N >= 0 && f.N < maxFireNumber && (i == 0 || h.Fires[i-1].N < f.N)
	}
	for i := range h.Fires {
		if !rises {
			h.Fires[i].N = int64(i) + 1
		}
	}
	last := int64(0)
	if n := len(h.Fires); n > 0 {
		last = h.Fires[n-1].N
	}
	if h.N < last || h.N >= maxFireNumber {
		h.N = last
	}
	return h, nil
}

// deleteHistory deletes the history of a removed job.
func (c *Catalog) deleteHistory(ctx context.Context, id string) {
	d, err := c.cfg.Docs.Get(ctx, historyPrefix+id)
	if err == nil {
		err = c.cfg.Docs.Delete(ctx, d.Name, d.Revision)
	}
	if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
		c.cfg.Log.Debug("deleting the history of a removed job failed", "job", id, "error", err)
	}
}

// Histories returns the history of a job by job id, or ErrNotFound if there is no such job. With an empty id it
// returns the histories of all jobs.
func (c *Catalog) Histories(ctx context.Context, id string) (map[string]History, error) {
	if id != "" {
		if _, err := c.Get(ctx, id); err != nil {
			return nil, err
		}
	} else if c.cfg.Docs == nil {
		return nil, c.unimplemented()
	}
	all := map[string]History{}
	return all, c.cfg.Requests.Do(ctx, func(ctx context.Context) error {
		if id != "" {
			h, _, err := c.history(ctx, id)
			all[id] = h
			return err
		}
		docs, err := c.cfg.Docs.List(ctx, historyPrefix)
		for _, d := range docs {
			job := strings.TrimPrefix(d.Name, historyPrefix)
			h, err := DecodeHistory(job, d.Value)
			if err != nil {
				return err
			}
			all[job] = h
		}
		return err
	})
}
