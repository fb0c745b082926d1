package runtime

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/afgen/afgen/runtime/internal/tasklog"
)

// LogTo makes the App open its own log, and close it at the end of Shutdown. open returns a handler for the records and
// a function that closes it. If open fails, [Open] returns its error. If both LogTo and [Logger] are given, the last
// one applies.
func LogTo(open func() (slog.Handler, func() error, error)) AppOption {
	return func(s *settings) { s.openLog = open }
}

// openLog opens the App's log.
func (a *App) openLog() error {
	if s := a.settings; s.log != nil {
		a.log = s.log
	}
	h := a.log.Handler()
	if open := a.settings.openLog; open != nil {
		var err error
		if h, a.closeLog, err = open(); err != nil {
			return err
		}
	}
	if fmt.Sprintf("%T", h) == "*slog.defaultHandler" {
		// Don't wrap the handler: if the wrapped one became slog's default, writing a record would deadlock.
		a.log = a.log.With("instance", a.instance.ID)
		return nil
	}
	if c, ok := h.(*contextHandler); ok {
		h = c.ready
	}
	c := newContextHandler(h.WithAttrs([]slog.Attr{slog.String("instance", a.instance.ID)}))
	c.has = keyOf("instance")
	a.log = slog.New(c)
	return nil
}

// Logger returns the App's logger, which adds the instance to each record. Records logged with a handler's context
// (slog.Logger.InfoContext and similar methods) also have the attributes that [LoggerFrom] adds. To use it in the whole
// program, make it the default:
//
//	slog.SetDefault(app.Logger())
//
// Without the options [Logger] and [LogTo] it is based on slog.Default at the time of [Open]. If that is package slog's
// own default logger, contexts add no attributes, and only LoggerFrom does.
func (a *App) Logger() *slog.Logger { return a.log }

// LoggerFrom returns a logger that adds attributes of the handler that owns ctx to each record. These are the instance,
// the trace id, if any, and the service, method and call, the queue, task and attempt, or the raw queue and attempt.
// The last 20 lines that the handler of a task logs with it, or with ctx and the App's logger, are also stored with the
// task. Outside a handler it returns slog.Default.
func LoggerFrom(ctx context.Context) *slog.Logger {
	h := handlingFrom(ctx)
	if h == nil {
		return slog.Default()
	}
	return h.app.process.logger(ctx, h)
}

// errorLogFrom returns a logger for texts that RedactErrors hides: with that option they are not stored with the task.
func errorLogFrom(ctx context.Context) *slog.Logger {
	h := handlingFrom(ctx)
	if h == nil || !h.app.settings.redact {
		return LoggerFrom(ctx)
	}
	c := h.contextHandler()
	return slog.New(c.ready.WithAttrs(h.attrs(ctx, c.has)))
}

// contextHandler returns the handler of the App's log.
func (h *handling) contextHandler() *contextHandler {
	c, ok := h.app.log.Handler().(*contextHandler)
	if !ok {
		c = newContextHandler(h.app.log.Handler())
		c.has = keyOf("instance")
	}
	return c
}

// ContextHandler wraps h so that records logged with the context of an App's handler have the attributes that
// [LoggerFrom] adds. An App does so with its own logger. Use ContextHandler for other loggers.
func ContextHandler(h slog.Handler) slog.Handler {
	if c, ok := h.(*contextHandler); ok {
		return c
	}
	return newContextHandler(h)
}

// A contextHandler adds the attributes of a record's context to it. They are at the top level, outside of the groups
// that the logger has opened. Attributes that the logger or the record already has are not repeated.
type contextHandler struct {
	base    slog.Handler
	since   []change     // calls of WithAttrs and WithGroup after base was made
	ready   slog.Handler // base after these calls
	grouped bool
	has     keys      // top-level attributes of ready
	of      *handling // the handler whose attributes base has; nil to add those of each record's context
}

// A change is a call of WithAttrs or WithGroup.
type change struct {
	attrs []slog.Attr
	group string
}

func newContextHandler(h slog.Handler) *contextHandler { return &contextHandler{base: h, ready: h} }

// bind returns a handler with the attributes of ctx.
func (c *contextHandler) bind(ctx context.Context, h *handling) *contextHandler {
	attrs := h.attrs(ctx, c.has)
	n := newContextHandler(c.ready)
	if len(attrs) > 0 {
		n = newContextHandler(c.ready.WithAttrs(attrs))
	}
	n.of = h
	return n
}

func (c *contextHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return c.ready.Enabled(ctx, l)
}

func (c *contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return c
	}
	n := c.with(change{attrs: attrs})
	n.ready = c.ready.WithAttrs(attrs)
	if !c.grouped {
		for _, a := range attrs {
			n.has |= keyOf(a.Key)
		}
	}
	return n
}

func (c *contextHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return c
	}
	n := c.with(change{group: name})
	n.ready, n.grouped = c.ready.WithGroup(name), true
	return n
}

func (c *contextHandler) with(ch change) *contextHandler {
	n := *c
	n.since = append(c.since[:len(c.since):len(c.since)], ch)
	return &n
}

func (c *contextHandler) Handle(ctx context.Context, r slog.Record) error {
	h := c.of
	if h != nil {
		h.keep(ctx, c.since, r)
		return c.ready.Handle(ctx, r)
	}
	h = handlingFrom(ctx)
	attrs := h.attrs(ctx, c.has|keysOf(r))
	h.keep(ctx, c.since, r)
	switch {
	case len(attrs) == 0:
		return c.ready.Handle(ctx, r)
	case c.grouped:
		return replay(c.base.WithAttrs(attrs), c.since).Handle(ctx, r)
	}
	r = r.Clone()
	r.AddAttrs(attrs...)
	return c.ready.Handle(ctx, r)
}

func replay(h slog.Handler, changes []change) slog.Handler {
	for _, ch := range changes {
		if ch.group != "" {
			h = h.WithGroup(ch.group)
		} else {
			h = h.WithAttrs(ch.attrs)
		}
	}
	return h
}

// keys is a set of attribute keys that contexts add.
type keys uint16

var keyBits = map[string]keys{
	"instance": 1 << 0, "service": 1 << 1, "method": 1 << 2, "call": 1 << 3,
	"queue": 1 << 4, "task": 1 << 5, "attempt": 1 << 6, "raw": 1 << 7, "trace": 1 << 8,
}

func keyOf(key string) keys { return keyBits[key] }

func keysOf(r slog.Record) (k keys) {
	r.Attrs(func(a slog.Attr) bool {
		k |= keyOf(a.Key)
		return true
	})
	return k
}

// attrs returns the attributes to add to a record that already has those in has. h may be nil.
func (h *handling) attrs(ctx context.Context, has keys) []slog.Attr {
	trace := traceID(TraceFrom(ctx))
	if h == nil && trace == "" {
		return nil
	}
	attrs := make([]slog.Attr, 0, 6)
	add := func(a slog.Attr) {
		if keyOf(a.Key)&has == 0 {
			attrs = append(attrs, a)
		}
	}
	switch {
	case h == nil:
	case h.running != nil:
		add(slog.String("queue", h.running.Queue))
		add(slog.String("task", h.running.ID))
		add(slog.Int("attempt", h.running.Attempt))
	case h.request != nil:
		add(slog.String("service", h.request.Service))
		add(slog.String("method", h.request.Method))
		add(slog.String("call", h.request.ID))
	default:
		add(slog.String("raw", h.raw.Queue))
		if h.raw.Attempt > 0 {
			add(slog.Int("attempt", h.raw.Attempt))
		}
	}
	if h != nil {
		add(slog.String("instance", h.app.instance.ID))
	}
	if trace != "" {
		add(slog.String("trace", trace))
	}
	return attrs
}

// keep adds a record to the log of the running task, if there is one.
func (h *handling) keep(ctx context.Context, since []change, r slog.Record) {
	switch {
	case h == nil || h.running == nil:
	case h.running.test != nil:
		_ = replay(h.running.test, since).Handle(ctx, r) // it can't fail
	default:
		kept := h.running.log.Handler(ctx, tasklog.Attempt{
			Number: h.running.Attempt, Instance: h.app.instance.ID, IP: h.app.instance.IP, Before: h.running.before,
		})
		_ = replay(kept, since).Handle(ctx, r) // it can't fail
	}
}
