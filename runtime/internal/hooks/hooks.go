// Package hooks calls the instruments of an App (package instrument).
//
// A [Set] has them all. It recovers their panics, and joins what several of them return. An App without instruments has
// a nil Set, so that each hook costs a comparison: the caller compares before it describes the operation. A method that
// accepts a nil Set has a comment about it.
package hooks

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/once"
)

// A Set calls the instruments of an App, the first one first. Its methods are safe for concurrent use.
type Set struct {
	instance string // id of the App
	log      *slog.Logger

	all    []instrument.Instrumentation
	warned once.Set
	modes  modes
}

// New returns a Set, or nil if there are no instruments. Nil ones are left out.
func New(all []instrument.Instrumentation) *Set {
	all = slices.DeleteFunc(slices.Clone(all), func(i instrument.Instrumentation) bool { return i == nil })
	if len(all) == 0 {
		return nil
	}
	return &Set{all: all}
}

// All returns a copy of the instruments. A nil Set has none.
func (s *Set) All() []instrument.Instrumentation {
	if s == nil {
		return nil
	}
	return slices.Clone(s.all)
}

// Own sets the id of the App's instance and its log. It must be called before all other methods. A nil Set does
// nothing.
func (s *Set) Own(instance string, log *slog.Logger) {
	if s != nil {
		s.instance, s.log = instance, log
	}
}

// Call begins the observation of a call. The caller must call End with the returned function.
func (s *Set) Call(ctx context.Context, start instrument.Start) (context.Context, func(instrument.End)) {
	return s.begin(ctx, callMethod, 0, start)
}

// Handle is Call for a call that is handled.
func (s *Set) Handle(ctx context.Context, start instrument.Start) (context.Context, func(instrument.End)) {
	return s.begin(ctx, handleMethod, 0, start)
}

// Submit is Call for a submission of tasks.
func (s *Set) Submit(ctx context.Context, start instrument.Start) (context.Context, func(instrument.End)) {
	return s.begin(ctx, submitMethod, 0, start)
}

// Attempt is Call for an attempt of a task.
func (s *Set) Attempt(ctx context.Context, start instrument.Start) (context.Context, func(instrument.End)) {
	return s.begin(ctx, attemptMethod, 0, start)
}

// Message is Call for a raw message.
func (s *Set) Message(ctx context.Context, start instrument.Start) (context.Context, func(instrument.End)) {
	return s.begin(ctx, messageMethod, 0, start)
}

// A method is a method of an instrument that begins to observe an operation.
type method string

const (
	callMethod    method = "Call"
	handleMethod  method = "Handle"
	submitMethod  method = "Submit"
	attemptMethod method = "Attempt"
	messageMethod method = "Message"
)

// begin calls a method of instrument n, from 1, or with n = 0 of all of them. The returned function may be nil. Each
// frame between the operation and the instrument has a copy of start, and the stacks of handlers are small: so there is
// one frame if there is one instrument.
func (s *Set) begin(
	ctx context.Context, m method, n int, start instrument.Start,
) (next context.Context, end func(instrument.End)) {
	if n == 0 && len(s.all) > 1 {
		return s.beginAll(ctx, m, &start)
	}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(string(m), p)
		}
		if next == nil {
			next = ctx
		}
	}()
	start.Instance = s.instance
	i := s.all[max(n-1, 0)]
	switch m {
	case callMethod:
		return i.Call(ctx, start)
	case handleMethod:
		return i.Handle(ctx, start)
	case submitMethod:
		return i.Submit(ctx, start)
	case attemptMethod:
		return i.Attempt(ctx, start)
	default:
		return i.Message(ctx, start)
	}
}

func (s *Set) beginAll(ctx context.Context, m method, start *instrument.Start) (context.Context, func(instrument.End)) {
	var ends []func(instrument.End)
	for n := range s.all {
		var end func(instrument.End)
		if ctx, end = s.begin(ctx, m, n+1, *start); end != nil {
			ends = append(ends, end)
		}
	}
	if len(ends) == 0 {
		return ctx, nil
	}
	return ctx, func(e instrument.End) {
		for _, end := range slices.Backward(ends) { // the last one is innermost
			s.End(end, e)
		}
	}
}

// End ends an observation. end is the function with which it began, and may be nil. It sets e.Code if e has an error
// without one.
func (s *Set) End(end func(instrument.End), e instrument.End) {
	if end == nil {
		return
	}
	if e.Err != nil && e.Code == "" {
		e.Code = backend.CodeOf(e.Err)
	}
	defer s.recover("End")
	end(e)
}

// EndSubmit ends the observation of a submission with its result: the ids of its tasks, of which some may have existed
// before, and how many it has created.
func (s *Set) EndSubmit(end func(instrument.End), ids []string, created int, err error) {
	e := instrument.End{Err: err, Stored: created}
	if len(ids) == 1 {
		e.Task = ids[0]
	}
	s.End(end, e)
}

// EndSubmitOne is EndSubmit for one task. id is "" if it is not known to be stored.
func (s *Set) EndSubmitOne(end func(instrument.End), id string, created bool, err error) {
	e := instrument.End{Err: err, Task: id}
	if created {
		e.Stored = 1
	}
	s.End(end, e)
}

// Observe reports an event.
func (s *Set) Observe(e instrument.Event) {
	e.Instance, e.Duration = s.instance, max(e.Duration, 0)
	for _, i := range s.all {
		func() {
			defer s.recover("Observe")
			i.Observe(e)
		}()
	}
}

// Flush makes all instruments send what they hold back, for at most a second. A nil Set does nothing.
func (s *Set) Flush() {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, i := range s.all {
		func() {
			defer s.recover("Flush")
			i.Flush(ctx)
		}()
	}
}

// recover recovers the panic of an instrument. It must be deferred itself.
func (s *Set) recover(method string) {
	if p := recover(); p != nil {
		s.panicked(method, p)
	}
}

// panicked logs the first panic of a method.
func (s *Set) panicked(method string, p any) {
	if s.warned.First(method) {
		s.log.Error("panic in an instrument; further ones of this method are not logged", "method", method, "panic", p,
			"stack", string(debug.Stack()))
	}
}
