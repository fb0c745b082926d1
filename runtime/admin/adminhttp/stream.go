package adminhttp

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	heartbeat    = 10 * time.Second // between comments on an idle stream
	writeTimeout = 20 * time.Second // of one event
)

// shutdown returns a channel that is closed when the server of a request shuts down.
func (h *handler) shutdown(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.servers[server]
	if !ok {
		c = make(chan struct{})
		h.servers[server] = c
		server.RegisterOnShutdown(func() { close(c) })
	}
	return c
}

// An item is a value or the error of a stream.
type item[V any] struct {
	value V
	err   error
}

func (s *stream[A, V]) serve(h *handler, api admin.API, w http.ResponseWriter, r *http.Request) {
	args, err := decode[A](w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		writeError(w, af.Errorf(af.ErrResourceExhausted, "%d streams are open", maxStreams).With(af.OutcomeNotSent))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	items, done := make(chan item[V]), make(chan struct{})
	defer func() { // the goroutine ends with the request
		cancel()
		<-done
	}()
	go func() {
		defer close(done)
		defer close(items)
		for v, err := range s.call(ctx, api, args) {
			select {
			case items <- item[V]{v, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	out := events{w: w, control: http.NewResponseController(w)}
	// The server's ReadTimeout would end the request; a stream has deadlines of its own. Without support for deadlines,
	// the server's apply.
	_ = out.control.SetReadDeadline(time.Time{})
	idle := time.NewTicker(heartbeat)
	defer idle.Stop()
	down := h.shutdown(r)
	for {
		select {
		case i, open := <-items:
			switch {
			case !open:
				out.send("event: end\ndata: {}\n\n")
				return
			case i.err != nil && !out.begun:
				writeError(w, i.err) // such as of a task that does not exist
				return
			case i.err != nil:
				out.event("error", problemOf(i.err))
				return
			case !out.event("", i.value):
				return
			}
		case <-idle.C:
			if !out.send(": still here\n\n") {
				return
			}
		case <-down:
			out.event("error", problemOf(af.NewError(af.ErrUnavailable, "the server is shutting down")))
			return
		case <-ctx.Done():
			return
		}
	}
}

// events writes server-sent events.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

// event sends a value, which is JSON without newlines. It reports whether the client still reads.
func (e *events) event(name string, value any) bool {
	body, err := encode(value)
	if err != nil {
		name = "error"
		body, _ = json.Marshal(problemOf(af.Errorf(af.ErrInternal, "encoding an event: %w", err))) // texts and numbers
	}
	text := "data: " + string(body) + "\n\n"
	if name != "" {
		text = "event: " + name + "\n" + text
	}
	return e.send(text) && err == nil
}

func (e *events) send(text string) bool {
	_ = e.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // see above
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Accel-Buffering", "no") // proxies must not keep events
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return false
	}
	return e.control.Flush() == nil
}
