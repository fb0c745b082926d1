// Package limits keeps the limits of queues: how many tasks of a queue each instance runs at once.
//
// The limits of a queue are one document, limits/<queue>. [Store.Change] changes it by compare-and-set, so concurrent
// changes take effect one after the other, and publishes an event, on which the instances read all limits again by
// [Store.All] (package tasks; without an event, every few seconds). A change is refused if the queue or the ip is
// unknown, which is considered a mistake: see known.go.
package limits

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// Limits are the limits of a queue. Their JSON is stored, so its names never change. Package runtime documents the
// fields.
type Limits struct {
	Paused   bool           `json:"paused,omitempty"`
	Max      *int           `json:"max,omitempty"`
	At       map[string]int `json:"at,omitempty"`
	Changed  time.Time      `json:"changed,omitzero"`
	By       string         `json:"by,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Revision int64          `json:"revision,omitempty"` // of the document; 0 means that there is none
}

// For returns the limit for a worker with the maximum own, on an instance with this ip.
func (l Limits) For(ip string, own int) tasks.Limit {
	most := own
	if l.Max != nil {
		most = *l.Max
	}
	if n, ok := l.At[ip]; ok {
		most = n
	}
	most = min(max(most, 0), MaxWorkers) // the document may have been edited
	return tasks.Limit{Max: most, Paused: l.Paused, Revision: l.Revision, Known: true}
}

// sameAs reports whether the limits have the same effect as others.
func (l Limits) sameAs(o Limits) bool {
	same := l.Max == o.Max || l.Max != nil && o.Max != nil && *l.Max == *o.Max
	return same && l.Paused == o.Paused && maps.Equal(l.At, o.At)
}

// MaxWorkers is the largest limit.
const MaxWorkers = 1_000_000

const (
	prefix  = "limits/" // of documents
	maxName = 255       // bytes of a queue or an ip
	maxIPs  = 1000      // with a limit of their own, of one queue
)

// A Store reads and changes limits. Its methods are safe for concurrent use.
type Store struct {
	Docs     backend.Docs // nil if the backend does not support documents: then there are no limits
	Tasks    backend.Store
	Requests *retry.Requester
	Bus      *pubsub.Bus
	Log      *slog.Logger

	// These find out which queues and ips are known.
	IP      string          // of this App, unless it is an observer
	Queues  func() []string // whose tasks this App runs
	Jobs    func(context.Context) (queues []string, err error)
	Present func(context.Context) (map[string]registry.Announcement, error) // without a registry: none
	Nodes   func(context.Context) (map[string]presence.Node, error)

	bad sync.Once // logs once that limits can't be decoded
}

// Get returns the limits of a queue, or zero Limits if none are set. Docs must not be nil.
func (s *Store) Get(ctx context.Context, queue string) (l Limits, err error) {
	err = s.Requests.Do(ctx, func(ctx context.Context) (err error) {
		l, err = s.read(ctx, queue)
		return err
	})
	return l, err
}

func (s *Store) read(ctx context.Context, queue string) (Limits, error) {
	doc, err := s.Docs.Get(ctx, prefix+queue)
	if backend.CodeOf(err) == backend.ErrNotFound {
		return Limits{}, nil
	}
	if err != nil {
		return Limits{}, err
	}
	return decode(doc)
}

func decode(doc backend.Doc) (Limits, error) {
	var l Limits
	if err := json.Unmarshal(doc.Value, &l); err != nil {
		return Limits{}, backend.Errorf(backend.ErrDataLoss, "decoding document %q: %w", doc.Name, err)
	}
	l.Revision = doc.Revision
	return l, nil
}

// All returns the limits of all queues. It logs and skips those that can't be decoded.
func (s *Store) All(ctx context.Context) (map[string]Limits, error) {
	all := map[string]Limits{}
	if s.Docs == nil {
		return all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	docs, err := s.Docs.List(ctx, prefix)
	if err != nil {
		return nil, backend.AsError(err)
	}
	for _, doc := range docs {
		limits, err := decode(doc)
		if err != nil {
			s.bad.Do(func() { s.Log.Error("queue limits ignored", "error", err) })
			continue
		}
		all[doc.Name[len(prefix):]] = limits
	}
	return all, nil
}

// A Change is a change of the limits of a queue.
type Change struct {
	Queue, IP  string               // IP is "" unless the change is about a single ip
	Create     bool                 // also for an unknown queue or ip
	By, Reason string               // who makes the change, and why
	Apply      func(limits *Limits) // changes the limits; it may be called several times
}

// Change changes the limits of a queue and notifies the instances. After a concurrent change it retries. If the queue
// or the ip is unknown, it returns ErrNotFound. Docs must not be nil.
func (s *Store) Change(ctx context.Context, ch Change) error {
	if ch.Queue == "" || len(ch.Queue) > maxName || len(ch.IP) > maxName {
		return backend.Errorf(backend.ErrInvalidArgument, "limits of queue %.80q, ip %.80q: the name must not be empty, "+
			"and neither may exceed %d bytes", ch.Queue, ch.IP, maxName).With(backend.OutcomeNotSent)
	}
	var now time.Time
	err := s.Requests.Do(ctx, func(ctx context.Context) (err error) {
		now, err = s.Tasks.Now(ctx)
		return err
	})
	if err != nil {
		return err
	}
	err = retry.Update(ctx, func(ctx context.Context) error {
		return s.Requests.Do(ctx, func(ctx context.Context) error { return s.try(ctx, ch, now) })
	})
	if backend.CodeOf(err) == backend.ErrAborted && ctx.Err() != nil {
		return backend.Errorf(backend.CodeOf(ctx.Err()), "changing the limits of queue %q: %w", ch.Queue, context.Cause(ctx))
	}
	if err == nil {
		s.Bus.Publish(tasks.TopicLimits, []string{ch.Queue})
	}
	return err
}

// try makes a change once. It returns ErrAborted after a concurrent change.
func (s *Store) try(ctx context.Context, ch Change, now time.Time) error {
	l, err := s.read(ctx, ch.Queue)
	if err != nil {
		return err
	}
	if !ch.Create {
		if err := s.checkKnown(ctx, ch.Queue, ch.IP, l); err != nil {
			return err
		}
	}
	before := l
	l.At = maps.Clone(l.At)
	if ch.Apply(&l); len(l.At) > maxIPs {
		return backend.Errorf(backend.ErrResourceExhausted, "queue %q: limits for more than %d ips", ch.Queue, maxIPs)
	}
	if l.sameAs(before) {
		if l.Revision == 0 {
			return nil
		}
	} else {
		l.Changed, l.By, l.Reason = now.UTC(), ch.By, ch.Reason
	}
	revision := l.Revision
	l.Revision = 0 // the document's own counts
	value, err := json.Marshal(l)
	if err == nil {
		_, err = s.Docs.PutIf(ctx, prefix+ch.Queue, revision, value)
	}
	return err
}
