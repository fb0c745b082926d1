// Package recorder has an instrument that records what it observes, for tests: that each operation that begins also
// ends, once, and that traces continue from one process to the next.
package recorder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/afgen/afgen/runtime/instrument"
)

// A Recorder is an instrument that records. The zero value is ready to use. It is safe for concurrent use.
type Recorder struct {
	instrument.NoInstrument

	mu      sync.Mutex
	spans   []*Span
	events  []instrument.Event
	flushes int
}

// A Span is an operation that has begun.
type Span struct {
	Kind   string // call, handle, submit, attempt or message
	Start  instrument.Start
	Ends   []instrument.End // one, unless there is a bug
	Trace  string           // id of its trace
	ID     string
	Parent string // id of a span; "" for a root
}

type spanKey struct{}

// span is what a context has of its current span.
type span struct{ trace, id string }

func (s span) traceparent() string { return "00-" + s.trace + "-" + s.id + "-01" }

func current(ctx context.Context) (span, bool) {
	s, ok := ctx.Value(spanKey{}).(span)
	return s, ok
}

// Inject implements [instrument.Instrumentation].
func (r *Recorder) Inject(ctx context.Context) map[string]string {
	s, ok := current(ctx)
	if !ok {
		return nil
	}
	return map[string]string{"traceparent": s.traceparent()}
}

// Extract implements [instrument.Instrumentation].
func (r *Recorder) Extract(ctx context.Context, metadata map[string]string) context.Context {
	parts := strings.Split(metadata["traceparent"], "-")
	if len(parts) != 4 {
		return ctx
	}
	return context.WithValue(ctx, spanKey{}, span{parts[1], parts[2]})
}

// Trace implements [instrument.Instrumentation].
func (r *Recorder) Trace(ctx context.Context) string {
	s, ok := current(ctx)
	if !ok {
		return ""
	}
	return s.traceparent()
}

// Call implements [instrument.Instrumentation].
func (r *Recorder) Call(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return r.begin(ctx, "call", s)
}

// Handle implements [instrument.Instrumentation].
func (r *Recorder) Handle(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return r.begin(ctx, "handle", s)
}

// Submit implements [instrument.Instrumentation].
func (r *Recorder) Submit(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return r.begin(ctx, "submit", s)
}

// Attempt implements [instrument.Instrumentation].
func (r *Recorder) Attempt(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return r.begin(ctx, "attempt", s)
}

// Message implements [instrument.Instrumentation].
func (r *Recorder) Message(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return r.begin(ctx, "message", s)
}

// Root returns a context with a new root span, such as that of an HTTP request, and the id of its trace.
func (r *Recorder) Root(ctx context.Context) (with context.Context, trace string) {
	s := span{id(16), id(8)}
	return context.WithValue(ctx, spanKey{}, s), s.trace
}

// Observe implements [instrument.Instrumentation].
func (r *Recorder) Observe(e instrument.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Flush implements [instrument.Instrumentation].
func (r *Recorder) Flush(context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushes++
}

func (r *Recorder) begin(
	ctx context.Context, kind string, start instrument.Start,
) (context.Context, func(instrument.End)) {
	parent, ok := current(ctx)
	s := &Span{Kind: kind, Start: start, Trace: parent.trace, Parent: parent.id, ID: id(8)}
	if !ok {
		s.Trace = id(16)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, s)
	return context.WithValue(ctx, spanKey{}, span{s.Trace, s.ID}), func(e instrument.End) {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.Ends = append(s.Ends, e)
	}
}

// id returns a random id of n bytes.
func id(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Spans returns copies of all spans that match, in the order of their begins.
func (r *Recorder) Spans(match func(*Span) bool) []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Span
	for _, s := range r.spans {
		if match == nil || match(s) {
			is := *s
			is.Ends = slices.Clone(s.Ends)
			found = append(found, is)
		}
	}
	return found
}

// Begun returns how many spans of a kind have begun.
func (r *Recorder) Begun(kind string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Kind == kind {
			n++
		}
	}
	return n
}

// Kinds returns the spans of a kind.
func (r *Recorder) Kinds(kind string) []Span {
	return r.Spans(func(s *Span) bool { return s.Kind == kind })
}

// Events returns the events of a kind.
func (r *Recorder) Events(kind instrument.Kind) []instrument.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e instrument.Event) bool { return e.Kind != kind })
}

// Flushes returns how often Flush was called.
func (r *Recorder) Flushes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flushes
}

// NotOnce returns a line for each span that has not ended exactly once.
func (r *Recorder) NotOnce() (lines []string) {
	for _, s := range r.Spans(func(s *Span) bool { return len(s.Ends) != 1 }) {
		lines = append(lines, fmt.Sprintf("%s %+v has ended %d times", s.Kind, s.Start, len(s.Ends)))
	}
	return lines
}
