package overview

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	// Every is the age at which the value is replaced. If the App that does so dies, another one does after this time.
	Every = 15 * time.Second
	// MaxAge is the age at which a value that could not be replaced is no longer returned.
	MaxAge = time.Minute
	// LookEvery is how long an App keeps what it has read of the document.
	LookEvery = 3 * time.Second

	timeout        = 5 * time.Second        // of System
	presentTimeout = 2 * time.Second        // for the coordinator, without which the rest is known
	pollEvery      = 250 * time.Millisecond // while another App replaces a value that is too old
	tidyTimeout    = time.Second            // for telling others that the value could not be replaced
)

// A Shared is an App's view of the value that all Apps share. Create it with [NewShared]. It is safe for concurrent use.
type Shared struct {
	source *Source

	mu      sync.Mutex    // not held during I/O
	looking chan struct{} // closed when the current look has ended; nil if there is none
	next    time.Time     // when to look again; zero before the first look
	system  instrument.System
	read    time.Time // when system was read, by this process's monotonic clock; zero if there is none
	err     error     // of the last look
}

// NewShared returns a Shared. It does nothing until System is called.
func NewShared(s *Source) *Shared { return &Shared{source: s} }

// System returns the value, which is usually at most [Every] old, and at most [MaxAge]. It waits for at most 5 s. The
// caller must not modify it.
func (s *Shared) System(ctx context.Context) (instrument.System, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		s.mu.Lock()
		now := time.Now()
		if s.looking == nil && !now.Before(s.next) {
			done := make(chan struct{})
			s.looking = done
			s.mu.Unlock()
			s.lookOnce(ctx, done)
			return s.current(time.Now())
		}
		looking := s.looking
		s.mu.Unlock()
		if v, err := s.current(now); looking == nil || err == nil {
			return v, err
		}
		select { // the first value is being read
		case <-looking:
		case <-ctx.Done():
			return instrument.System{}, asError(ctx.Err())
		}
	}
}

// current returns the value that this App has, or why it has none.
func (s *Shared) current(now time.Time) (instrument.System, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read.IsZero() && now.Sub(s.read) < MaxAge {
		return s.system, nil
	}
	if s.err != nil {
		return instrument.System{}, s.err
	}
	return instrument.System{}, backend.NewError(backend.ErrUnavailable, "the system was not read recently")
}

// lookOnce looks and keeps the result.
func (s *Shared) lookOnce(ctx context.Context, done chan struct{}) {
	d, keep, err := s.look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking = nil
	close(done)
	s.err = err
	if d != nil {
		s.system = d.document.system()
		s.read = time.Now().Add(-d.age)
	}
	if !errors.Is(ctx.Err(), context.Canceled) { // otherwise the caller gave up, which says nothing about the store
		s.next = time.Now().Add(keep)
	}
}

// A value is a document and its age.
type value struct {
	*document
	age time.Duration
}

// look returns the current value, which it replaces if that is due, and how long to keep it. If another App replaces
// it, or this App can't, look returns the old value. If that is too old it waits for the other App. The value is nil if
// there is none.
func (s *Shared) look(ctx context.Context) (*value, time.Duration, error) {
	if s.source.Docs == nil {
		return s.readAlone(ctx)
	}
	for {
		doc, err := s.source.Docs.Get(ctx, docName)
		if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return nil, LookEvery, asError(err)
		}
		now, err := s.source.Store.Now(ctx)
		if err != nil {
			return nil, LookEvery, asError(err)
		}
		d := decode(doc.Value)
		age, ok := d.age(now)
		if ok && age < Every {
			return &value{d, age}, LookEvery, nil
		}
		if !d.replacing(now) {
			v, keep, err := s.replace(ctx, doc.Revision, d, now)
			if err == errFaster {
				continue
			}
			if v == nil && ok {
				v = &value{d, age}
			}
			return v, keep, err
		}
		switch {
		case ok && age < MaxAge:
			return &value{d, age}, LookEvery, nil
		case d.Failed != "":
			return nil, LookEvery, backend.Errorf(backend.Code(d.Failed), "reading the system for gauges failed on "+
				"another instance")
		case !retry.Sleep(ctx, pollEvery):
			return nil, LookEvery, asError(ctx.Err())
		}
	}
}

// errFaster means that another App replaces the value.
var errFaster = errors.New("another instance reads the system for gauges")

// replace replaces a document by a new value, or returns errFaster.
func (s *Shared) replace(ctx context.Context, rev int64, old *document, now time.Time) (*value, time.Duration, error) {
	taken := *old
	taken.Taken, taken.Failed = now, ""
	rev, err := s.put(ctx, rev, &taken)
	switch code := backend.CodeOf(err); {
	case err == nil:
	case code == backend.ErrAborted:
		return nil, 0, errFaster
	case retry.Unavailable(err), code == backend.ErrCanceled:
		return nil, LookEvery, asError(err)
	default: // the store can't be written, such as one that is full
		return s.readAlone(ctx)
	}
	d, err := s.readSystem(ctx)
	if err != nil {
		if taken.Failed = string(backend.CodeOf(err)); errors.Is(ctx.Err(), context.Canceled) {
			taken.Taken, taken.Failed = time.Time{}, "" // another App may try at once
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
		defer cancel()
		_, _ = s.put(ctx, rev, &taken) // otherwise others wait until they time out
		return nil, LookEvery, err
	}
	if _, err := s.put(ctx, rev, d); backend.CodeOf(err) == backend.ErrAborted {
		return nil, 0, errFaster // reading took so long that another App has begun
	}
	// After another error the value is correct, even if others don't get it.
	return &value{d, 0}, LookEvery, nil
}

func (s *Shared) put(ctx context.Context, rev int64, d *document) (int64, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return 0, backend.Errorf(backend.ErrInternal, "encoding document %q: %w", docName, err)
	}
	return s.source.Docs.PutIf(ctx, docName, rev, text)
}

// readAlone reads the system for this App only, if it can't be shared.
func (s *Shared) readAlone(ctx context.Context) (*value, time.Duration, error) {
	d, err := s.readSystem(ctx)
	if err != nil {
		return nil, Every, err
	}
	return &value{d, 0}, Every, nil
}

// readSystem reads the system. If the coordinator is unavailable, the numbers of instances are unknown.
func (s *Shared) readSystem(ctx context.Context) (*document, error) {
	now, err := s.source.Store.Now(ctx)
	if err != nil {
		return nil, asError(err)
	}
	source := *s.source
	source.Present = func(ctx context.Context) (map[string]registry.Announcement, error) {
		ctx, cancel := context.WithTimeout(ctx, presentTimeout)
		defer cancel()
		return s.source.Present(ctx)
	}
	f, errStore, errPresent := source.read(ctx)
	if errStore != nil {
		return nil, asError(errStore)
	}
	return newDocument(&f, errPresent == nil && f.present != nil, now), nil
}

func asError(err error) error {
	return backend.Errorf(backend.CodeOf(err), "reading the system for gauges: %w", err)
}
