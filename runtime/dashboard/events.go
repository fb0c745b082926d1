package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	heartbeat    = 15 * time.Second // between comments on an idle stream
	writeTimeout = 20 * time.Second // of one event
	maxStreams   = 500              // of one handler, and watches
	maxTasks     = 20               // of one stream
	queuedTicks  = 32               // of one stream; more become one that stands for all
	rewatch      = 2 * time.Second  // after a watch has failed
)

// A hub watches the system for all open pages: once for what all of them show, and once for each task that is shown. It
// reads nothing while no page is open.
type hub struct {
	api     admin.API
	changed func() // called before a tick is passed on, so that pages read what has changed

	mu      sync.Mutex
	topics  map[string]*topic // by the id of a task, "" for all pages
	streams int
}

// A topic is one watch and those who get its ticks.
type topic struct {
	cancel context.CancelFunc
	subs   map[*subscriber]bool
}

// A subscriber is an open stream.
type subscriber struct {
	ticks chan admin.Tick
}

// startTick makes a page read everything again.
var startTick = admin.Tick{Kind: admin.KindStart}

// send passes a tick on without blocking. A subscriber that falls behind gets startTick instead of what it missed.
func (s *subscriber) send(t admin.Tick) {
	select {
	case s.ticks <- t:
		return
	default:
	}
	for { // what is dropped is covered by startTick
		select {
		case <-s.ticks:
			continue
		default:
		}
		break
	}
	select {
	case s.ticks <- startTick:
	default:
	}
}

func newHub(api admin.API, changed func()) *hub {
	return &hub{api: api, changed: changed, topics: map[string]*topic{}}
}

// subscribe returns the ticks for pages that show some tasks, and the function that ends the subscription.
func (h *hub) subscribe(tasks ...string) (<-chan admin.Tick, func(), error) {
	names := []string{""}
	for _, task := range tasks {
		if len(names) <= maxTasks && !slices.Contains(names, task) {
			names = append(names, task)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	watches := len(h.topics)
	for _, name := range names {
		if h.topics[name] == nil {
			watches++
		}
	}
	if h.streams >= maxStreams || watches > maxStreams {
		return nil, nil, af.Errorf(af.ErrResourceExhausted, "%d streams of events are open", h.streams).
			With(af.OutcomeNotSent)
	}
	h.streams++
	s := &subscriber{ticks: make(chan admin.Tick, queuedTicks)}
	for _, name := range names {
		t := h.topics[name]
		if t == nil {
			ctx, cancel := context.WithCancel(context.Background())
			t = &topic{cancel: cancel, subs: map[*subscriber]bool{}}
			h.topics[name] = t
			go h.watch(ctx, name, t) // ends with the last subscriber; begins with startTick
		} else { // what has changed since the page was read may have been told before
			s.send(startTick)
		}
		t.subs[s] = true
	}
	return s.ticks, func() { h.unsubscribe(s, names) }, nil
}

func (h *hub) unsubscribe(s *subscriber, names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams--
	for _, name := range names {
		t := h.topics[name]
		delete(t.subs, s)
		if len(t.subs) == 0 {
			t.cancel()
			delete(h.topics, name)
		}
	}
}

// watch passes the ticks of a topic on until ctx ends.
func (h *hub) watch(ctx context.Context, task string, t *topic) {
	q := admin.WatchQuery{}
	if task != "" {
		q = admin.WatchQuery{Kinds: []admin.Kind{admin.KindTasks}, Tasks: []string{task}}
	}
	for ctx.Err() == nil {
		for tick, err := range h.api.Watch(ctx, q) {
			if err != nil {
				break
			}
			if task != "" && tick.Kind == admin.KindTasks {
				if !slices.Contains(tick.IDs, task) {
					continue
				}
				tick.IDs = []string{task}
			}
			h.changed()
			h.pass(t, tick)
		}
		select {
		case <-time.After(rewatch):
		case <-ctx.Done():
		}
	}
}

func (h *hub) pass(t *topic, tick admin.Tick) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range t.subs {
		s.send(tick)
	}
}

// events serves ticks as server-sent events until the page is closed or the server shuts down. One page of a browser has
// the stream for all of them, so the address may have several tasks.
func (s *server) events(_ *viewer, w http.ResponseWriter, r *http.Request) error {
	ticks, end, err := s.hub.subscribe(r.URL.Query()["task"]...)
	if err != nil {
		return err
	}
	defer end()
	down := s.shutdown(r) // before the client learns that the stream is open
	out := newStream(w)
	if !out.send(": open\n\nretry: 2000\n\n") {
		return nil
	}
	idle := time.NewTicker(heartbeat)
	defer idle.Stop()
	for {
		ok := true
		select {
		case t := <-ticks:
			ok = out.event("", t)
		case <-idle.C:
			ok = out.send(": still here\n\n")
		case <-down:
			out.event("end", "the server is shutting down")
			return nil
		case <-r.Context().Done():
			return nil
		}
		if !ok {
			return nil
		}
	}
}

// followLog serves the lines of a task's log as they are written.
func (s *server) followLog(v *viewer, w http.ResponseWriter, r *http.Request) error {
	if err := v.user.Check("Logs"); err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := v.api.Task(r.Context(), id); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	_, end, err := s.hub.subscribe() // counts as a stream
	if err != nil {
		return err
	}
	defer end()
	log, err := s.feeds.open(id)
	if err != nil {
		return err
	}
	defer s.feeds.close(log)
	down := s.shutdown(r)
	go func() { // ends with the request
		select {
		case <-down:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := newStream(w)
	if !out.send(": open\n\n") {
		return nil
	}
	alive := true
	err = log.follow(ctx, func(lines []string) bool {
		shown := make([]string, len(lines))
		for i := range lines {
			shown[i] = clean(lines[i])
		}
		alive = out.event("", shown)
		return alive
	})
	switch {
	case !alive:
	case err != nil:
		out.event("end", clean(messageOf(err)))
	default:
		out.event("end", "")
	}
	return nil
}

// shutdown returns a channel that is closed when the server of a request shuts down.
func (s *server) shutdown(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.servers[server]
	if !ok {
		c = make(chan struct{})
		s.servers[server] = c
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(c) })) // each call of Shutdown runs it
	}
	return c
}

// A stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w)}
}

// event sends a value. It reports whether the client still reads.
func (s *stream) event(name string, value any) bool {
	body, err := json.Marshal(value)
	if err != nil { // not of ticks and texts
		return false
	}
	text := "data: " + string(body) + "\n\n"
	if name != "" {
		text = "event: " + name + "\n" + text
	}
	return s.send(text)
}

func (s *stream) send(text string) bool {
	// A server's WriteTimeout is for pages. A writer that doesn't support deadlines keeps its own.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")                 // proxies must not keep events
		h.Set("Cache-Control", "no-store, no-transform") // nor compress them, which keeps them as well
		_ = s.control.SetReadDeadline(time.Time{})
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
