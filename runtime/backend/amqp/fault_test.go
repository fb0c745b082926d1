package amqp

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A life is a server's and a client's Conn with everything open that must go on after a fault.
type life struct {
	t              *testing.T
	queue          string
	server, client *Conn
	listener       backend.Listener
	raws           chan string
	began          chan string
	release        chan struct{}
}

// live opens a life: service echo, service hold (concurrency 1), a listener and a receiver of a queue.
func live(t *testing.T, url string, change ...func(*Config)) *life {
	l := &life{t: t, queue: "q" + newID(), server: dial(t, url, change...), client: dial(t, url, change...), raws: make(chan string, 100)}
	l.open()
	return l
}

// of returns l within a subtest.
func (l *life) of(t *testing.T) *life {
	within := *l
	within.t = t
	return &within
}

func (l *life) open() {
	t := l.t
	serve(t, l.server, "echo", 8, echo)
	_, l.began, l.release = hold(t, l.server, "hold", 1)
	var err error
	l.listener, err = l.server.Transport().Listen(t.Context(), l.queue, 8)
	must(t, err)
	t.Cleanup(func() { _ = l.listener.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.server.Transport().Receive(ctx, l.queue, func(_ context.Context, body json.RawMessage) error {
			l.raws <- string(body)
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// works checks that everything works, again perhaps, within the time that reconnecting takes.
func (l *life) works() {
	t := l.t
	t.Helper()
	eventually(t, "calls", func() bool {
		_, err := l.client.Calls().Call(t.Context(), request("echo"))
		return err == nil
	})
	id := newID()
	eventually(t, "hints", func() bool {
		taken, err := l.client.Transport().Hint(t.Context(), l.queue, []string{id})
		return err == nil && taken[0]
	})
	eventually(t, "the hint is heard", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hints, _ := l.listener.Next(ctx, 10)
		found := false
		for _, h := range hints {
			h.Done()
			found = found || h.ID == id
		}
		return found
	})
	eventually(t, "raw messages", func() bool {
		return l.client.Transport().Send(t.Context(), l.queue, json.RawMessage(`"`+id+`"`)) == nil
	})
	eventually(t, "the message is received", func() bool { return strings.Contains(<-l.raws, id) })
	if up, _ := l.client.Transport().State(); !up || l.client.Err() != nil {
		t.Errorf("up %v, %v", up, l.client.Err())
	}
}

// Everything that must survive faults of the broker, one after the other on one server and with one pair of Conns.
func TestFaultsOfTheBroker(t *testing.T) {
	s := devstack.Start(t, devstack.RabbitMQ)
	l := live(t, s.URI)
	l.works()
	t.Run("connections_closed", func(t *testing.T) {
		l.of(t).connectionsClosed(func() error { return s.Ctl("close_all_connections", "a test") })
	})
	t.Run("stopped_and_started", func(t *testing.T) { l.of(t).away(s.Stop, s.Start) })
	t.Run("killed_and_started", func(t *testing.T) { l.of(t).away(s.Kill, s.Start) })
	t.Run("out_of_memory", func(t *testing.T) { l.of(t).blocked(s) })
	t.Run("unavailable_at_dial", func(t *testing.T) { opensWhileAway(t, s) })
	close(l.release)
}

func (l *life) connectionsClosed(do func() error) {
	t := l.t
	call := calling(t.Context(), l.client, request("hold"))
	<-l.began
	waits := calling(t.Context(), l.client, request("hold"))
	_, lost := l.client.Transport().State()
	lostAt := make(chan time.Time, 1)
	go func() {
		<-lost
		lostAt <- time.Now()
	}()
	// A hint that is out when its channel ends: acknowledging it does nothing, and it comes again.
	_, err := l.client.Transport().Hint(t.Context(), l.queue, []string{"out"})
	must(t, err)
	hints, err := l.listener.Next(t.Context(), 1)
	must(t, err)
	must(t, do())
	at := <-lostAt
	for _, c := range []chan result{call, waits} {
		r := <-c
		wantError(t, r.err, backend.ErrUnavailable, backend.OutcomeUnknown)
		if late := r.at.Sub(at); late > 100*time.Millisecond {
			t.Errorf("it failed %v after the connection", late)
		}
	}
	hints[0].Done()
	eventually(t, "the hint comes again", func() bool {
		hints, err := l.listener.Next(t.Context(), 1)
		must(t, err)
		hints[0].Done()
		return hints[0].ID == "out" && hints[0].Redelivered
	})
	l.release <- struct{}{} // what ran there goes on, and nobody hears of it
	l.works()
}

// away checks what holds while the broker is away, and that nothing must be restarted when it is back.
func (l *life) away(stop, start func() error) {
	t := l.t
	kept := json.RawMessage(`"kept"`)
	must(t, l.client.Transport().Send(t.Context(), "nobody", kept))
	third := dial(t, l.client.config.URLs[0])
	serve(t, third, "gone", 1, echo)
	must(t, stop())
	eventually(t, "it is noticed", func() bool { up, _ := l.client.Transport().State(); return !up })
	must(t, third.Close(t.Context()))
	begun := time.Now()
	_, err := l.client.Calls().Call(t.Context(), request("echo"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = l.client.Transport().Hint(t.Context(), l.queue, []string{"x"})
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	wantError(t, l.client.Transport().Send(t.Context(), l.queue, kept), backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = l.client.Transport().Depth(t.Context(), l.queue)
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	if took := time.Since(begun); took > 100*time.Millisecond {
		t.Errorf("saying so took %v", took)
	}
	must(t, start())
	l.works()
	// The queue of a service outlived the broker without its instance: that is found out without waiting for a deadline.
	begun = time.Now()
	_, err = l.client.Calls().Call(t.Context(), request("gone"))
	if !errors.Is(err, backend.ErrUnavailable) || time.Since(begun) > 3*lookAfter {
		t.Errorf("a service that is gone: %v after %v", err, time.Since(begun))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := ""
	_ = l.client.Transport().Receive(ctx, "nobody", func(_ context.Context, body json.RawMessage) error {
		got = string(body)
		cancel()
		return nil
	})
	if got != string(kept) {
		t.Errorf("of the message that was sent before: %q", got)
	}
}

func (l *life) blocked(s *devstack.Server) {
	t := l.t
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.0001"))
	// The broker tells a connection when that publishes.
	eventually(t, "calls fail at once", func() bool {
		begun := time.Now()
		_, err := l.client.Calls().Call(t.Context(), request("echo"))
		return errors.Is(err, backend.ErrUnavailable) && time.Since(begun) < 50*time.Millisecond
	})
	if up, _ := l.client.Transport().State(); up {
		t.Error("up while the broker takes nothing")
	}
	_, err := l.client.Transport().Hint(t.Context(), l.queue, []string{"x"})
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.4"))
	l.works()
}

func opensWhileAway(t *testing.T, s *devstack.Server) {
	must(t, s.Stop())
	_, err := Dial(t.Context(), config(t, s.URI))
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrUnavailable {
		t.Errorf("%v", err)
	}
	degraded := func(c *Config) { c.Degraded = true }
	l := live(t, s.URI, degraded)
	_, err = l.client.Calls().Call(t.Context(), request("echo"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	must(t, s.Start())
	l.works()
	close(l.release)
}

func TestErrorsAtStartNameAddressHostAndCauseButNoSecret(t *testing.T) {
	good := devstack.AMQP(t)
	u, err := url.Parse(good)
	must(t, err)
	with := func(f func(u *url.URL)) string {
		v := *u
		f(&v)
		return v.String()
	}
	for name, test := range map[string]struct {
		url  string
		code backend.Code
		says []string
	}{
		"no_listener": {with(func(u *url.URL) { u.Host = "127.0.0.1:1" }), backend.ErrUnavailable, []string{"127.0.0.1:1", "vhost", "refused"}},
		"wrong_password": {with(func(u *url.URL) { u.User = url.UserPassword("guest", "sesame") }), backend.ErrUnauthenticated,
			[]string{u.Host, "vhost", "username or password"}},
		"no_such_vhost":  {with(func(u *url.URL) { u.Path = "/nowhere" }), backend.ErrNotFound, []string{u.Host, "nowhere"}},
		"no_url":         {"amqp://guest:sesame%zz@127.0.0.1", backend.ErrInvalidArgument, []string{"URL 1"}},
		"another_scheme": {"http://guest:sesame@127.0.0.1", backend.ErrInvalidArgument, []string{"amqps://"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, degraded := range []bool{false, true} {
				_, err := Dial(t.Context(), config(t, test.url, func(c *Config) { c.Degraded = degraded && test.code != backend.ErrUnavailable }))
				if backend.CodeOf(err) != test.code {
					t.Fatalf("%v, want %s", err, test.code)
				}
				for _, part := range test.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%v doesn't say %q", err, part)
					}
				}
				if strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "guest:") {
					t.Errorf("%v tells a secret", err)
				}
			}
		})
	}
}

func TestUserWithoutPermissionIsToldAtOnce(t *testing.T) {
	url := devstack.AMQP(t)
	user := func(pattern string) string {
		return devstack.AMQPUser(t, url, devstack.Grant{Configure: pattern, Write: pattern, Read: pattern})
	}
	_, err := Dial(t.Context(), config(t, user("^nothing$"), func(c *Config) { c.Degraded = true }))
	if backend.CodeOf(err) != backend.ErrPermissionDenied {
		t.Errorf("%v", err)
	}
	// The least that is enough, as docs/wire.md says: amq.default is where hints and replies are published.
	l := live(t, user(`^(af\..*|amq\.default)$`))
	l.works()
	close(l.release)
}

func TestQueuesThatAreDeletedOrPurgedAreMadeAnew(t *testing.T) {
	url := devstack.AMQP(t)
	l := live(t, url)
	l.works()
	ch := bare(t, url)
	runs := calling(t.Context(), l.client, request("hold"))
	<-l.began
	waits := calling(t.Context(), l.client, request("hold"))
	for _, q := range []string{prefixCalls + "echo", prefixCalls + "hold", prefixHints + l.queue, prefixRaw + l.queue} {
		_, err := ch.QueuePurge(q, false)
		must(t, err)
		_, err = ch.QueueDelete(q, false, false, false)
		must(t, err)
	}
	l.works()
	// What waited at the instance went with the queue's channel, and its caller hears so.
	wantError(t, (<-waits).err, backend.ErrUnavailable, backend.OutcomeNotSent)
	close(l.release)
	if r := <-runs; r.err != nil && backend.CodeOf(r.err) != backend.ErrUnavailable {
		t.Errorf("what ran: %v", r.err)
	}
}

// An instance whose connection ends alone answers what it runs over the next one, and says of what has arrived that it wasn't
// begun. What was in the queue is lost with that, and the callers hear so when the instance makes a new one.
func TestInstanceThatLosesItsConnectionStillAnswers(t *testing.T) {
	proxy := newProxy(t, devstack.AMQP(t))
	server, client := dial(t, proxy.url), dial(t, proxy.direct)
	s, began, release := hold(t, server, "s", 1)
	runs := calling(t.Context(), client, request("s"))
	<-began
	others := queued(t, client, "s", 50, nil, 0)
	eventually(t, "the second has arrived", func() bool {
		s := s.(*serving)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.visits) == 2
	})
	proxy.Cut()
	cut := time.Now()
	for _, d := range others {
		r := <-d
		if !errors.Is(r.err, backend.ErrUnavailable) {
			t.Errorf("%v", r.err)
		}
		if late := r.at.Sub(cut); late > 2*time.Second {
			t.Fatalf("it ended %v after the connection", late)
		}
	}
	close(release)
	if r := <-runs; r.err != nil || r.reply.Err != nil {
		t.Errorf("what ran: %v %v", r.err, r.reply)
	}
	eventually(t, "it serves again", func() bool {
		_, err := client.Calls().Call(t.Context(), request("s"))
		return err == nil
	})
}
