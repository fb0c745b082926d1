package amqp

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

func TestAbsentIsWhoHasNoConnection(t *testing.T) {
	url := devstack.AMQP(t)
	proxy := newProxy(t, url)
	looks, goes, stays := dial(t, proxy.url), dial(t, url), dial(t, proxy.url)
	of := func(c *Conn) string { return c.config.Instance.ID }
	all := []string{of(looks), of(goes), of(stays), "never", "", strings.Repeat("long", 100)}
	absent := func() []string {
		got, err := looks.transport.Absent(t.Context(), all)
		must(t, err)
		return got
	}

	if got := absent(); !slices.Equal(got, []string{"never"}) {
		t.Errorf("absent are %v", got)
	}
	closes(t, goes)
	eventually(t, "who left is absent", func() bool { return slices.Equal(absent(), []string{of(goes), "never"}) })
	first := looks.await(t.Context(), nil)
	proxy.Cut()
	second := looks.await(t.Context(), first)
	_, err := looks.transport.Absent(t.Context(), all)
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeUnknown) // others may not be there yet
	second.born = second.born.Add(-gathering)
	eventually(t, "who connects again is there", func() bool { return slices.Equal(absent(), []string{of(goes), "never"}) })
	closes(t, looks)
	if _, err = looks.transport.Absent(t.Context(), all); backend.CodeOf(err) != backend.ErrUnavailable {
		t.Errorf("closed: %v", err)
	}
}

// A Conn knows when others may not see it any more: at once if its connection or the queue of its control messages goes, and before
// the broker drops the connection if nothing arrives.
func TestVisible(t *testing.T) {
	url := devstack.AMQP(t)
	proxy := newProxy(t, url)
	looks, c := dial(t, url), dial(t, proxy.url)
	since := func() time.Time {
		at, _ := c.transport.Visible()
		return at
	}
	first := since()
	if first.IsZero() || time.Since(first) > 10*time.Second {
		t.Fatalf("visible since %v", first)
	}
	absent := func() bool {
		gone, err := looks.transport.Absent(t.Context(), []string{c.config.Instance.ID})
		must(t, err)
		return len(gone) > 0
	}
	if absent() {
		t.Error("absent from the beginning")
	}

	g := c.await(t.Context(), nil)
	_, changed := c.transport.Visible()
	proxy.Cut()
	<-changed
	if at := since(); !at.IsZero() && !at.After(first) {
		t.Errorf("after a cut visible since %v, before since %v", at, first)
	}
	g = c.await(t.Context(), g)
	second := since()
	if !second.After(first) {
		t.Errorf("connected again: visible since %v, before since %v", second, first)
	}

	// An administrator deletes the queue: the broker says so, and the connection is opened anew.
	ch, err := g.consume.Channel()
	must(t, err)
	_, err = ch.QueueDelete(g.control, false, false, true) // its reply may come after the connection has ended
	must(t, err)
	c.await(t.Context(), g)
	if third := since(); !third.After(second) {
		t.Errorf("with a new queue visible since %v, before since %v", third, second)
	}
	eventually(t, "its new queue is there", func() bool { return !absent() })
	closes(t, c)
	if at := since(); !at.IsZero() {
		t.Errorf("closed, and visible since %v", at)
	}
}

// For every heartbeat a Conn that hears nothing takes itself for invisible before RabbitMQ drops its connection and others may act on
// that, with clocks that are 2 % wrong: half a second after they see it, while this process may notice a quarter of a second late.
func TestSilenceIsNoticedBeforeTheBrokerActsOnIt(t *testing.T) {
	for n := 1; n <= 300; n++ {
		heartbeat := time.Duration(n) * time.Second
		lastByte := max(heartbeat/2, heartbeat-time.Second) // before the cut
		dropped := 2*heartbeat - lastByte
		if noticed, acted := silence(heartbeat)*102/100+250*time.Millisecond, dropped*98/100+500*time.Millisecond; noticed > acted {
			t.Errorf("heartbeat %v: noticed %v after the cut, acted on %v after it", heartbeat, noticed, acted)
		}
	}
}
