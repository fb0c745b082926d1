// Package audit keeps the log of the changes that users have made to tasks, queues and jobs.
//
// An [Entry] is one document, audit/<time>-<random>, so that the order of names is that of time. Entries are written
// once, after the change, by [Log.Add], and are never changed. [Log.Page] reads them, latest first. One process of the
// system deletes the oldest ones, by [Log.Prune]: it counts the entries once, and later only those that are new.
//
// Times are of the store's clock. An entry never has a payload.
package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	prefix = "audit/" // of document names
	// stamp has a fixed width, so that names sort by time.
	stamp = "20060102T150405.000000Z"

	// Kept is how many entries are kept at least.
	Kept = 10_000
	// slack is how many more entries there may be before Prune deletes any: finding the oldest ones costs ten reads.
	slack    = 500
	pageMost = 1000 // entries of a page, and of one read
	usual    = 100
	// pruneMost bounds the entries that one Prune deletes.
	pruneMost = 1000
	// maxText bounds the fields of an entry that have no limit of their own, in bytes.
	maxText = 2048
	// coarse is the longest tick of a store's clock. If it was set back by more, entries have its time.
	coarse = time.Second
	// addTimeout bounds the writing of an entry. The caller waits for it.
	addTimeout = 5 * time.Second
)

// An Entry is a change, or an attempt to make one that was refused. The names of JSON fields never change.
type Entry struct {
	ID       string    `json:"-"` // the document's name without its prefix
	Time     time.Time `json:"time"`
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	Action   string    `json:"action"`
	Target   string    `json:"target,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// A Query selects entries. A zero field does not restrict.
type Query struct {
	By, Action, Target string
	Limit              int    // entries on a page, 1 to 1000; 0 means 100
	Cursor             string // the ID of the last entry of the previous page
}

func (q Query) matches(e *Entry) bool {
	return (q.By == "" || q.By == e.By) && (q.Action == "" || q.Action == e.Action) &&
		(q.Target == "" || q.Target == e.Target)
}

// A Log is the audit log of a system, as one App writes and reads it. It is safe for concurrent use, except for Prune.
type Log struct {
	Docs     backend.Docs
	Now      func(ctx context.Context) (time.Time, error) // the store's time
	Instance string
	Log      *slog.Logger

	bad sync.Once // logs that an entry can't be decoded

	mu   sync.Mutex
	last time.Time // of the last entry of this process

	// Only Prune uses these.
	newest string // the newest entry that is counted
	count  int    // of entries
}

// Add writes an entry, with the time and the instance. It waits for the store for a few seconds, even if ctx has ended:
// the change has been made. If the entry can't be written, Add logs it.
func (l *Log) Add(ctx context.Context, e Entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), addTimeout)
	defer cancel()
	e.Instance = l.Instance
	for _, text := range []*string{&e.Target, &e.Detail, &e.Error} {
		*text = backend.Text(*text, maxText)
	}
	if err := l.write(ctx, &e); err != nil {
		l.Log.Error("audit entry not written", "by", e.By, "reason", e.Reason, "action", e.Action, "target", e.Target,
			"detail", e.Detail, "result", e.Error, "error", err)
	}
}

func (l *Log) write(ctx context.Context, e *Entry) error {
	err := retry.Do(ctx, addTimeout, func(ctx context.Context) (err error) {
		e.Time, err = l.Now(ctx)
		return err
	})
	if err != nil {
		return err
	}
	e.Time = l.later(e.Time.UTC().Truncate(time.Microsecond))
	e.ID = e.Time.Format(stamp) + "-" + rand.Text()
	value, err := json.Marshal(e)
	if err != nil {
		return backend.Errorf(backend.ErrInternal, "encoding an audit entry: %w", err)
	}
	tries := 0
	return retry.Do(ctx, addTimeout, func(ctx context.Context) error {
		tries++
		_, err := l.Docs.PutIf(ctx, prefix+e.ID, 0, value)
		if tries > 1 && backend.CodeOf(err) == backend.ErrAborted {
			return nil // an earlier try has written it
		}
		return err
	})
}

// later returns now, or if the clock of the store is too coarse, the next instant after the last entry of this process:
// the order of entries is that of changes.
func (l *Log) later(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next := l.last.Add(time.Microsecond); now.Before(next) && now.Add(coarse).After(next) {
		now = next
	}
	l.last = now
	return now
}

// Page returns a page of the entries that match q, latest first, and the cursor of the next page, or "" at the end. An
// entry that can't be decoded is logged and left out. An invalid query is ErrInvalidArgument.
func (l *Log) Page(ctx context.Context, q Query) (page []Entry, cursor string, err error) {
	if q.Limit < 0 || q.Limit > pageMost {
		return nil, "", backend.Errorf(backend.ErrInvalidArgument, "page limit %d out of range [1, %d]", q.Limit,
			pageMost).With(backend.OutcomeNotSent)
	}
	before := ""
	if q.Cursor != "" {
		if len(q.Cursor) <= len(stamp) || strings.Contains(q.Cursor, "/") || timeOf(q.Cursor).IsZero() {
			return nil, "", backend.BadCursor(q.Cursor)
		}
		before = prefix + q.Cursor
	}
	limit := cmp.Or(q.Limit, usual)
	read := limit + 1 // one more tells whether there is another page
	if q.By != "" || q.Action != "" || q.Target != "" {
		read = pageMost
	}
	for {
		docs, err := l.Docs.Latest(ctx, prefix, before, read)
		if err != nil {
			return nil, "", err
		}
		for _, d := range docs {
			e, err := decode(d)
			if err != nil {
				l.bad.Do(func() { l.Log.Error("audit entry ignored", "error", err) })
				continue
			}
			if !q.matches(&e) {
				continue
			}
			if len(page) == limit {
				return page, page[limit-1].ID, nil
			}
			page = append(page, e)
		}
		if len(docs) < read {
			return page, "", nil
		}
		before = docs[len(docs)-1].Name
	}
}

func decode(d backend.Doc) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(d.Value, &e); err != nil {
		return Entry{}, backend.Errorf(backend.ErrDataLoss, "decoding document %q: %w", d.Name, err)
	}
	e.ID = strings.TrimPrefix(d.Name, prefix)
	return e, nil
}

// timeOf returns the time of an entry, or zero if id is not that of an entry.
func timeOf(id string) time.Time {
	t, err := time.Parse(stamp, id[:min(len(stamp), len(id))])
	if err != nil {
		return time.Time{}
	}
	return t
}

// Prune deletes the oldest entries if there are more than [Kept] and some slack, at most a thousand. One process of the
// system calls it, every minute. If there are no new entries, it reads one document.
func (l *Log) Prune(ctx context.Context) error {
	more, newest, err := l.countNew(ctx)
	if err != nil {
		return err
	}
	l.count, l.newest = l.count+more, newest
	if l.count <= Kept+slack {
		return nil
	}
	last, err := l.lastKept(ctx)
	if err != nil {
		return err
	}
	if last == "" { // counted wrongly, because other processes have deleted entries
		l.count, l.newest = 0, ""
		return nil
	}
	docs, err := l.Docs.Latest(ctx, prefix, last, pruneMost)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := l.Docs.Delete(ctx, d.Name, d.Revision); err != nil && backend.CodeOf(err) != backend.ErrAborted {
			return err
		}
	}
	l.count = Kept
	if len(docs) == pruneMost { // there may be more
		l.count += slack + 1
	}
	return nil
}

// countNew counts the entries that are newer than l.newest, and returns the newest one.
func (l *Log) countNew(ctx context.Context) (n int, newest string, err error) {
	newest = l.newest
	read := 1
	for before := ""; ; read = pageMost {
		docs, err := l.Docs.Latest(ctx, prefix, before, read)
		if err != nil {
			return 0, "", err
		}
		for i, d := range docs {
			if before == "" && i == 0 {
				newest = d.Name
			}
			if l.newest != "" && d.Name <= l.newest {
				return n, newest, nil
			}
			n++
		}
		if len(docs) < read || n > 2*Kept {
			return n, newest, nil
		}
		before = docs[len(docs)-1].Name
	}
}

// lastKept returns the name of the last entry that is kept, or "" if there are fewer entries.
func (l *Log) lastKept(ctx context.Context) (string, error) {
	before := ""
	for range Kept / pageMost {
		docs, err := l.Docs.Latest(ctx, prefix, before, pageMost)
		if err != nil {
			return "", err
		}
		if len(docs) < pageMost {
			return "", nil
		}
		before = docs[len(docs)-1].Name
	}
	return before, nil
}
