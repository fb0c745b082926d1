package amqp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

func TestSilenceDetector(t *testing.T) {
	const (
		confirmed, late = 0, time.Second
		recent, quiet   = time.Second, time.Minute
	)
	needed := int(silentAfter / checkEvery) // checks after the question
	d := &silenceDetector{}
	// checks runs n checks and returns the number of questions.
	checks := func(n int, blocked bool, confirm, quiet time.Duration) (asked int) {
		for range n {
			if d.check(blocked, confirm, quiet) {
				asked++
			}
		}
		return asked
	}
	want := func(t *testing.T, silent bool) {
		t.Helper()
		if d.silent != silent {
			t.Errorf("silent is %v", d.silent)
		}
	}
	t.Run("confirmed", func(t *testing.T) {
		*d = silenceDetector{}
		if n := checks(100, false, confirmed, quiet); n != 0 {
			t.Errorf("asked %d questions", n)
		}
		want(t, false)
	})
	t.Run("unanswered", func(t *testing.T) {
		*d = silenceDetector{}
		if n := checks(needed, false, late, quiet); n != 1 {
			t.Errorf("asked %d questions", n)
		}
		want(t, false)
		checks(1, false, late, quiet)
		want(t, true)
		checks(1, false, late, recent) // a heartbeat doesn't end it
		want(t, true)
		d.answered()
		want(t, false)
		if n := checks(1, false, late, recent); n != 1 {
			t.Error("doesn't ask again")
		}
	})
	t.Run("answered_late", func(t *testing.T) {
		*d = silenceDetector{}
		for range 10 {
			checks(needed, false, late, quiet)
			d.answered()
			want(t, false)
		}
	})
	t.Run("confirmed_at_last", func(t *testing.T) {
		*d = silenceDetector{}
		checks(needed+1, false, late, quiet)
		checks(1, false, confirmed, quiet)
		want(t, false)
	})
	t.Run("deliveries_arrive", func(t *testing.T) {
		*d = silenceDetector{}
		checks(100, false, late, recent)
		want(t, false)
	})
	t.Run("blocked", func(t *testing.T) {
		*d = silenceDetector{}
		checks(needed, false, late, quiet)
		checks(100, true, late, quiet)
		want(t, false)
		checks(needed-1, false, late, quiet) // counts from the end of the alarm
		want(t, false)
		checks(1, false, late, quiet)
		want(t, true)
	})
}

// waitState waits until State is up or not, and returns how long that took.
func waitState(t *testing.T, c *Conn, up bool) time.Duration {
	t.Helper()
	begun := time.Now()
	eventually(t, "State", func() bool { is, _ := c.Transport().State(); return is == up })
	return time.Since(begun)
}

// A broker whose replies don't arrive is late at first: hints fail, calls wait. After silentAfter calls fail, too.
// Those under way have an unknown outcome, new ones aren't sent. Everything recovers on the same connections.
func TestSilentBroker(t *testing.T) {
	p := newProxy(t, devstack.AMQP(t))
	server, client := dial(t, p.direct), dial(t, p.url, func(c *Config) { c.lateAfter = 0 })
	serve(t, server, "echo", 8, echo)
	_, began, release := serveBlocking(t, server, "hold", 1)
	g := client.awaitGeneration(t.Context(), nil)
	_, err := client.Calls().Call(t.Context(), newRequest("echo"))
	must(t, err)
	held := startCall(t.Context(), client, newRequest("hold"))
	<-began

	frozen := time.Now()
	p.Block(testkit.Replies)
	call := startCall(t.Context(), client, newRequest("echo"))
	raw := make(chan error, 1)
	go func() { raw <- client.Transport().Send(t.Context(), "q", aMessage(`1`)) }()
	hint := make(chan error, 1)
	go func() { _, err := client.Transport().Hint(t.Context(), "q", []string{"a"}); hint <- err }()
	waitState(t, client, false)
	if e, ok := errors.AsType[*backend.Error](<-hint); !ok || e.Code != backend.ErrUnavailable {
		t.Errorf("a hint under way: %v", e)
	}
	if late := time.Since(frozen); late < silentAfter {
		if err := client.Err(); err != nil {
			t.Errorf("%v after %v", err, late)
		}
	} else {
		t.Logf("the machine is too slow to see that the Conn is usable: %v", late)
	}
	_, err = client.Transport().Hint(t.Context(), "q", []string{"b"})
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = client.Transport().Depth(t.Context(), "q")
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)

	for name, c := range map[string]chan result{"held": held, "echo": call} {
		r := <-c
		wantError(t, r.err, backend.ErrUnavailable, backend.OutcomeUnknown)
		if after := r.at.Sub(frozen); after < silentAfter {
			t.Errorf("%s: failed after %v", name, after)
		}
	}
	if e, ok := errors.AsType[*backend.Error](<-raw); !ok || e.Code != backend.ErrUnavailable {
		t.Errorf("a raw message under way: %v", e)
	}
	_, err = client.Calls().Call(t.Context(), newRequest("echo"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	if !errors.Is(err, backend.ErrServerDown) || client.Err() == nil {
		t.Errorf("%v, %v", err, client.Err())
	}

	p.Restore()
	waitState(t, client, true)
	_, err = client.Calls().Call(t.Context(), newRequest("echo"))
	must(t, err)
	if g.hasEnded() {
		t.Errorf("reconnected: %v", g.err)
	}
	close(release)
}

// Silence ends a generation if the Conn has other targets, and the next one uses another.
func TestSilentNodeIsLeft(t *testing.T) {
	p := newProxy(t, devstack.AMQP(t))
	server := dial(t, p.direct)
	serve(t, server, "echo", 8, echo)
	client := dial(t, p.url, func(c *Config) { c.URLs = append(c.URLs, p.direct) })
	p.Block(testkit.Replies)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first := client.awaitGeneration(ctx, nil)
	if g := client.awaitGeneration(ctx, first); g == nil || g.target.url != p.direct {
		t.Fatalf("connected to %v", g)
	}
	eventually(t, "calls", func() bool {
		_, err := client.Calls().Call(ctx, newRequest("echo"))
		return err == nil
	})
}
