package amqp

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A fixture is a server and a client with calls, hints and raw messages that must survive faults.
type fixture struct {
	t              *testing.T
	queue          string
	server, client *Conn
	listener       backend.Listener
	raws           chan string
	began          chan string
	release        chan struct{}
}

// newFixture starts the services echo and hold (concurrency 1), a listener, and a receiver of raw messages.
func newFixture(t *testing.T, url string, change ...func(*Config)) *fixture {
	f := &fixture{
		t: t, queue: "q" + newID(), server: dial(t, url, change...), client: dial(t, url, change...),
		raws: make(chan string, 100),
	}
	f.open()
	return f
}

// within returns f for a subtest.
func (f *fixture) within(t *testing.T) *fixture {
	within := *f
	within.t = t
	return &within
}

func (f *fixture) open() {
	t := f.t
	serve(t, f.server, "echo", 8, echo)
	_, f.began, f.release = serveBlocking(t, f.server, "hold", 1)
	var err error
	f.listener, err = f.server.Transport().Listen(t.Context(), f.queue, 8)
	must(t, err)
	t.Cleanup(func() { _ = f.listener.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.server.Transport().Receive(ctx, f.queue, accept(func(body string) { f.raws <- body }))
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// works checks that calls, hints and raw messages work, within the time for reconnecting.
func (f *fixture) works() {
	t := f.t
	t.Helper()
	eventually(t, "calls", func() bool {
		_, err := f.client.Calls().Call(t.Context(), newRequest("echo"))
		return err == nil
	})
	id := newID()
	eventually(t, "hints", func() bool {
		taken, err := f.client.Transport().Hint(t.Context(), f.queue, []string{id})
		return err == nil && taken[0]
	})
	eventually(t, "the hint is received", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hints, _ := f.listener.Next(ctx, 10)
		found := false
		for _, h := range hints {
			h.Done()
			found = found || h.ID == id
		}
		return found
	})
	eventually(t, "raw messages", func() bool {
		return f.client.Transport().Send(t.Context(), f.queue, aMessage(`"`+id+`"`)) == nil
	})
	eventually(t, "the message is received", func() bool { return strings.Contains(<-f.raws, id) })
	if up, _ := f.client.Transport().State(); !up || f.client.Err() != nil {
		t.Errorf("up %v, %v", up, f.client.Err())
	}
}

// Faults of one broker, one after another, with one pair of Conns.
func TestBrokerFaults(t *testing.T) {
	s := devstack.Start(t, devstack.RabbitMQ)
	f := newFixture(t, s.URI)
	f.works()
	t.Run("connections_closed", func(t *testing.T) {
		f.within(t).connectionsClosed(func() error { return s.Ctl("close_all_connections", "a test") })
	})
	t.Run("stopped_and_started", func(t *testing.T) { f.within(t).brokerDown(s.Stop, s.Start) })
	t.Run("killed_and_started", func(t *testing.T) { f.within(t).brokerDown(s.Kill, s.Start) })
	t.Run("out_of_memory", func(t *testing.T) { f.within(t).blocked(s) })
	t.Run("unavailable_at_dial", func(t *testing.T) { dialWhileDown(t, s) })
	close(f.release)
}

func (f *fixture) connectionsClosed(do func() error) {
	t := f.t
	call := startCall(t.Context(), f.client, newRequest("hold"))
	<-f.began
	waits := startCall(t.Context(), f.client, newRequest("hold"))
	_, lost := f.client.Transport().State()
	lostAt := make(chan time.Time, 1)
	go func() {
		<-lost
		lostAt <- time.Now()
	}()
	// A hint is unacknowledged when its channel ends. Acknowledging it then does nothing, and it is redelivered.
	_, err := f.client.Transport().Hint(t.Context(), f.queue, []string{"out"})
	must(t, err)
	hints, err := f.listener.Next(t.Context(), 1)
	must(t, err)
	session := hints[0].Session
	must(t, do())
	at := <-lostAt
	for _, c := range []chan result{call, waits} {
		r := <-c
		wantError(t, r.err, backend.ErrUnavailable, backend.OutcomeUnknown)
		if late := r.at.Sub(at); late > 100*time.Millisecond {
			t.Errorf("failed %v after the connection was lost", late)
		}
	}
	hints[0].Done()
	eventually(t, "the hint is redelivered", func() bool {
		hints, err := f.listener.Next(t.Context(), 1)
		must(t, err)
		hints[0].Done()
		return hints[0].ID == "out" && hints[0].Redelivered && hints[0].Session > session
	})
	f.release <- struct{}{} // the running handler ends, and its reply is dropped
	f.works()
}

// brokerDown checks behaviour while the broker is down, and that everything recovers without a restart.
func (f *fixture) brokerDown(stop, start func() error) {
	t := f.t
	kept := `"kept"`
	must(t, f.client.Transport().Send(t.Context(), "unread", aMessage(kept)))
	third := dial(t, f.client.config.URLs[0])
	serve(t, third, "gone", 1, echo)
	must(t, stop())
	eventually(t, "the outage is noticed", func() bool { up, _ := f.client.Transport().State(); return !up })
	must(t, third.Close(t.Context()))
	begun := time.Now()
	_, err := f.client.Calls().Call(t.Context(), newRequest("echo"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = f.client.Transport().Hint(t.Context(), f.queue, []string{"x"})
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	err = f.client.Transport().Send(t.Context(), f.queue, aMessage(kept))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = f.client.Transport().Depth(t.Context(), f.queue)
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	if took := time.Since(begun); took > 100*time.Millisecond {
		t.Errorf("failing took %v", took)
	}
	must(t, start())
	f.works()
	// The queue of a service without an instance survived the restart. Calls to it still fail without waiting for their
	// deadline.
	begun = time.Now()
	_, err = f.client.Calls().Call(t.Context(), newRequest("gone"))
	if !errors.Is(err, backend.ErrUnavailable) || time.Since(begun) > 3*checkAfter {
		t.Errorf("service without instance: %v after %v", err, time.Since(begun))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := ""
	_ = f.client.Transport().Receive(ctx, "unread", accept(func(body string) {
		got = body
		cancel()
	}))
	if got != kept {
		t.Errorf("received %q instead of the message sent before the outage", got)
	}
}

func (f *fixture) blocked(s *devstack.Server) {
	t := f.t
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.0001"))
	// The broker only notifies connections that publish.
	eventually(t, "calls fail at once", func() bool {
		begun := time.Now()
		_, err := f.client.Calls().Call(t.Context(), newRequest("echo"))
		return errors.Is(err, backend.ErrUnavailable) && time.Since(begun) < 50*time.Millisecond
	})
	if up, _ := f.client.Transport().State(); up {
		t.Error("up while the broker blocks publishers")
	}
	_, err := f.client.Transport().Hint(t.Context(), f.queue, []string{"x"})
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.4"))
	f.works()
}

func dialWhileDown(t *testing.T, s *devstack.Server) {
	must(t, s.Stop())
	_, err := Dial(t.Context(), config(t, s.URI))
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrUnavailable {
		t.Errorf("%v", err)
	}
	degraded := func(c *Config) { c.Degraded = true }
	f := newFixture(t, s.URI, degraded)
	_, err = f.client.Calls().Call(t.Context(), newRequest("echo"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	must(t, s.Start())
	f.works()
	close(f.release)
}

func TestDialErrorsNameTargetWithoutSecrets(t *testing.T) {
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
		"no_listener": {with(func(u *url.URL) { u.Host = "127.0.0.1:1" }), backend.ErrUnavailable,
			[]string{"127.0.0.1:1", "vhost", "refused"}},
		"wrong_password": {with(func(u *url.URL) { u.User = url.UserPassword("guest", "sesame") }),
			backend.ErrUnauthenticated,
			[]string{u.Host, "vhost", "username or password"}},
		"no_such_vhost":  {with(func(u *url.URL) { u.Path = "/nowhere" }), backend.ErrNotFound, []string{u.Host, "nowhere"}},
		"no_url":         {"amqp://guest:sesame%zz@127.0.0.1", backend.ErrInvalidArgument, []string{"URL 1"}},
		"another_scheme": {"http://guest:sesame@127.0.0.1", backend.ErrInvalidArgument, []string{"amqps://"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, degraded := range []bool{false, true} {
				_, err := Dial(t.Context(), config(t, test.url, func(c *Config) {
					c.Degraded = degraded && test.code != backend.ErrUnavailable
				}))
				if backend.CodeOf(err) != test.code {
					t.Fatalf("%v, want %s", err, test.code)
				}
				for _, part := range test.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%v doesn't contain %q", err, part)
					}
				}
				if strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "guest:") {
					t.Errorf("%v contains a secret", err)
				}
			}
		})
	}
}

func TestDialFailsWithoutPermission(t *testing.T) {
	url := devstack.AMQP(t)
	user := func(pattern string) string {
		return devstack.AMQPUser(t, url, devstack.Grant{Configure: pattern, Write: pattern, Read: pattern})
	}
	_, err := Dial(t.Context(), config(t, user("^nothing$"), func(c *Config) { c.Degraded = true }))
	if backend.CodeOf(err) != backend.ErrPermissionDenied {
		t.Errorf("%v", err)
	}
	// The minimum documented in docs/wire.md; amq.default is where hints and replies are published.
	f := newFixture(t, user(`^(af\..*|amq\.default)$`))
	f.works()
	close(f.release)
}

func TestDeletedQueuesAreRecreated(t *testing.T) {
	url := devstack.AMQP(t)
	f := newFixture(t, url)
	f.works()
	ch := bare(t, url)
	runs := startCall(t.Context(), f.client, newRequest("hold"))
	<-f.began
	waits := startCall(t.Context(), f.client, newRequest("hold"))
	for _, q := range []string{prefixCalls + "echo", prefixCalls + "hold", prefixHints + f.queue, prefixRaw + f.queue} {
		_, err := ch.QueuePurge(q, false)
		must(t, err)
		_, err = ch.QueueDelete(q, false, false, false)
		must(t, err)
	}
	f.works()
	// The waiting request was lost with the channel, and its caller is told.
	wantError(t, (<-waits).err, backend.ErrUnavailable, backend.OutcomeNotSent)
	close(f.release)
	if r := <-runs; r.err != nil && backend.CodeOf(r.err) != backend.ErrUnavailable {
		t.Errorf("running call: %v", r.err)
	}
}

// An instance that loses its connection sends replies of running calls over the next one, and refuses requests that
// have arrived but not started. Requests in the queue are lost with it, and their callers are told when the instance
// creates a new queue.
func TestReconnectedInstanceSendsReplies(t *testing.T) {
	proxy := newProxy(t, devstack.AMQP(t))
	server, client := dial(t, proxy.url), dial(t, proxy.direct)
	s, began, release := serveBlocking(t, server, "s", 1)
	runs := startCall(t.Context(), client, newRequest("s"))
	<-began
	others := publishCalls(t, client, "s", 50, nil, 0)
	eventually(t, "the second request has arrived", func() bool {
		s := s.(*serving)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.requests) == 2
	})
	proxy.Cut()
	cut := time.Now()
	for _, d := range others {
		r := <-d
		if !errors.Is(r.err, backend.ErrUnavailable) {
			t.Errorf("%v", r.err)
		}
		if late := r.at.Sub(cut); late > 2*time.Second {
			t.Fatalf("ended %v after the connection was lost", late)
		}
	}
	close(release)
	if r := <-runs; r.err != nil || r.reply.Err != nil {
		t.Errorf("running call: %v %v", r.err, r.reply)
	}
	eventually(t, "it serves again", func() bool {
		_, err := client.Calls().Call(t.Context(), newRequest("s"))
		return err == nil
	})
}
