// Package contextlog adds the attributes of a record's context to it, such as those of the handler that logs it.
package contextlog

import (
	"context"
	"log/slog"
	"maps"
	"sync/atomic"
)

// A Scope is the part of a program to which a context belongs. A nil pointer to its type is a valid Scope.
type Scope interface {
	// Attrs returns the attributes to add to a record that already has those in has.
	Attrs(ctx context.Context, has Keys) []slog.Attr
	// Keep stores a record, if the scope stores records. since are the changes of its logger.
	Keep(ctx context.Context, since Changes, r slog.Record)
}

// A Handler adds the attributes of a record's context to it. They are at the top level, outside of the groups that the
// logger has opened. Attributes that the logger or the record already has are not repeated.
type Handler struct {
	base    slog.Handler
	since   Changes      // calls of WithAttrs and WithGroup after base was made
	ready   slog.Handler // base after these calls
	grouped bool
	has     Keys // top-level attributes of ready
	from    func(context.Context) Scope
	of      Scope         // whose attributes base has; nil to add those of each record's context
	failed  *atomic.Int64 // records for which base returned an error, of all handlers made from one
}

// A loser is a handler that counts the records that it has lost, by reason.
type loser interface{ Lost() map[string]int64 }

// Changes are calls of WithAttrs and WithGroup.
type Changes []change

type change struct {
	attrs []slog.Attr
	group string
}

// New returns a Handler that passes records to h. from returns the scope of a context. has lists attributes of h, which
// are not added again.
func New(h slog.Handler, from func(context.Context) Scope, has ...string) *Handler {
	c := &Handler{base: h, ready: h, from: from, failed: new(atomic.Int64)}
	for _, key := range has {
		c.has |= keyBits[key]
	}
	return c
}

// Unwrap returns the handler to which h passes records, if it is a Handler, and otherwise h.
func Unwrap(h slog.Handler) slog.Handler {
	if c, ok := h.(*Handler); ok {
		return c.ready
	}
	return h
}

// Bind returns a Handler with the attributes of a scope, to which ctx belongs. It looks up no other scopes.
func (c *Handler) Bind(ctx context.Context, s Scope) *Handler {
	h := c.ready
	if attrs := s.Attrs(ctx, c.has); len(attrs) > 0 {
		h = h.WithAttrs(attrs)
	}
	return &Handler{base: h, ready: h, from: c.from, of: s, failed: c.failed}
}

// Unkept returns a handler with the attributes of a scope, which doesn't keep the records.
func (c *Handler) Unkept(ctx context.Context, s Scope) slog.Handler {
	return c.ready.WithAttrs(s.Attrs(ctx, c.has))
}

// Enabled implements [slog.Handler].
func (c *Handler) Enabled(ctx context.Context, l slog.Level) bool {
	return c.ready.Enabled(ctx, l)
}

// WithAttrs implements [slog.Handler].
func (c *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return c
	}
	n := c.with(change{attrs: attrs})
	n.ready = c.ready.WithAttrs(attrs)
	if !c.grouped {
		for _, a := range attrs {
			n.has |= keyBits[a.Key]
		}
	}
	return n
}

// WithGroup implements [slog.Handler].
func (c *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return c
	}
	n := c.with(change{group: name})
	n.ready, n.grouped = c.ready.WithGroup(name), true
	return n
}

func (c *Handler) with(ch change) *Handler {
	n := *c
	n.since = append(c.since[:len(c.since):len(c.since)], ch)
	return &n
}

// Lost returns how many records were lost, by reason: those of the handler that c was made for, if that counts them,
// and "handler" for those for which it returned an error.
func (c *Handler) Lost() map[string]int64 {
	all := map[string]int64{}
	if l, ok := c.base.(loser); ok {
		maps.Copy(all, l.Lost())
	}
	if n := c.failed.Load(); n > 0 {
		all["handler"] = n
	}
	return all
}

// Handle implements [slog.Handler].
func (c *Handler) Handle(ctx context.Context, r slog.Record) error {
	err := c.handle(ctx, r)
	if err != nil {
		c.failed.Add(1) // package slog ignores it
	}
	return err
}

func (c *Handler) handle(ctx context.Context, r slog.Record) error {
	s := c.of
	if s != nil {
		s.Keep(ctx, c.since, r)
		return c.ready.Handle(ctx, r)
	}
	s = c.from(ctx)
	attrs := s.Attrs(ctx, c.has|keysOf(r))
	s.Keep(ctx, c.since, r)
	switch {
	case len(attrs) == 0:
		return c.ready.Handle(ctx, r)
	case c.grouped:
		return c.since.Replay(c.base.WithAttrs(attrs)).Handle(ctx, r)
	}
	r = r.Clone()
	r.AddAttrs(attrs...)
	return c.ready.Handle(ctx, r)
}

// Replay makes the calls on another handler, and returns the result.
func (changes Changes) Replay(h slog.Handler) slog.Handler {
	for _, ch := range changes {
		if ch.group != "" {
			h = h.WithGroup(ch.group)
		} else {
			h = h.WithAttrs(ch.attrs)
		}
	}
	return h
}

// Keys is a set of attribute keys that contexts add.
type Keys uint16

var keyBits = map[string]Keys{
	"instance": 1 << 0, "service": 1 << 1, "method": 1 << 2, "call": 1 << 3,
	"queue": 1 << 4, "task": 1 << 5, "attempt": 1 << 6, "raw": 1 << 7, "trace": 1 << 8, "span": 1 << 9,
}

// Contain reports whether a key is in the set.
func (k Keys) Contain(key string) bool { return k&keyBits[key] != 0 }

func keysOf(r slog.Record) (k Keys) {
	r.Attrs(func(a slog.Attr) bool {
		k |= keyBits[a.Key]
		return true
	})
	return k
}
