package runtime

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"github.com/afgen/afgen/runtime/internal/contextlog"
	"github.com/afgen/afgen/runtime/internal/hooks"
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
	h = contextlog.Unwrap(h).WithAttrs([]slog.Attr{slog.String("instance", a.instance.ID)})
	a.log = slog.New(contextlog.New(h, a.scopeFrom, "instance"))
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
// the trace id, if any, the span id of an instrument, and the service, method and call, the queue, task and attempt, or the raw queue and attempt.
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
	return slog.New(h.contextHandler().Unkept(ctx, h))
}

// contextHandler returns the handler of the App's log.
func (h *handling) contextHandler() *contextlog.Handler {
	if c, ok := h.app.log.Handler().(*contextlog.Handler); ok {
		return c
	}
	return contextlog.New(h.app.log.Handler(), scopeFrom, "instance")
}

// ContextHandler wraps h so that records logged with the context of an App's handler have the attributes that
// [LoggerFrom] adds. An App does so with its own logger. Use ContextHandler for other loggers.
func ContextHandler(h slog.Handler) slog.Handler {
	if c, ok := h.(*contextlog.Handler); ok {
		return c
	}
	return contextlog.New(h, scopeFrom)
}

// scopeFrom returns the handling of a context, which may be nil, for package contextlog.
func scopeFrom(ctx context.Context) contextlog.Scope { return handlingFrom(ctx) }

// scopeFrom is the function scopeFrom for the App's log. Outside of handlers the App's instruments may have a span.
func (a *App) scopeFrom(ctx context.Context) contextlog.Scope {
	if h := handlingFrom(ctx); h != nil || a.hooks == nil {
		return h
	}
	return &handling{app: a}
}

// Attrs implements contextlog.Scope. h may be nil.
func (h *handling) Attrs(ctx context.Context, has contextlog.Keys) []slog.Attr {
	var span string // only of an instrument: the others may be of the caller
	if h != nil {
		span = h.app.hooks.Trace(ctx)
	}
	trace := cmp.Or(span, TraceFrom(ctx))
	if h == nil && trace == "" {
		return nil
	}
	attrs := make([]slog.Attr, 0, 7)
	add := func(a slog.Attr) {
		if !has.Contain(a.Key) {
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
	case h.raw != nil:
		add(slog.String("raw", h.raw.Queue))
		if h.raw.Attempt > 0 {
			add(slog.Int("attempt", h.raw.Attempt))
		}
	}
	if h != nil {
		add(slog.String("instance", h.app.instance.ID))
	}
	if trace != "" {
		add(slog.String("trace", hooks.TraceID(trace)))
	}
	if span != "" {
		add(slog.String("span", hooks.SpanID(span)))
	}
	return attrs
}

// Keep implements contextlog.Scope. It adds a record to the log of the running task, if there is one.
func (h *handling) Keep(ctx context.Context, since contextlog.Changes, r slog.Record) {
	switch {
	case h == nil || h.running == nil:
	case h.running.test != nil:
		_ = since.Replay(h.running.test).Handle(ctx, r) // it can't fail
	default:
		kept := h.running.log.Handler(ctx, tasklog.Attempt{
			Number: h.running.Attempt, Instance: h.app.instance.ID, IP: h.app.instance.IP, Before: h.running.before,
		})
		_ = since.Replay(kept).Handle(ctx, r) // it can't fail
	}
}
