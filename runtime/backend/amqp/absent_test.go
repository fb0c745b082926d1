package amqp

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

func TestAbsentReportsDisconnectedInstances(t *testing.T) {
	url := devstack.AMQP(t)
	proxy := newProxy(t, url)
	observer, leaving, staying := dial(t, proxy.url), dial(t, url), dial(t, proxy.url)
	of := func(c *Conn) string { return c.config.Instance.ID }
	all := []string{of(observer), of(leaving), of(staying), "never", "", strings.Repeat("long", 100)}
	absent := func() []string {
		got, err := observer.transport.Absent(t.Context(), all)
		must(t, err)
		return got
	}

	if got := absent(); !slices.Equal(got, []string{"never"}) {
		t.Errorf("absent: %v", got)
	}
	closeConn(t, leaving)
	eventually(t, "the closed instance is absent",
		func() bool { return slices.Equal(absent(), []string{of(leaving), "never"}) })
	first := observer.awaitGeneration(t.Context(), nil)
	proxy.Cut()
	second := observer.awaitGeneration(t.Context(), first)
	_, err := observer.transport.Absent(t.Context(), all)
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeUnknown) // others may still be reconnecting
	second.born = second.born.Add(-reconnectGrace)
	eventually(t, "the reconnected instance is present",
		func() bool { return slices.Equal(absent(), []string{of(leaving), "never"}) })
	closeConn(t, observer)
	if _, err = observer.transport.Absent(t.Context(), all); backend.CodeOf(err) != backend.ErrUnavailable {
		t.Errorf("closed: %v", err)
	}
}

// A Conn knows when others may not see it: at once if its connection or control queue ends, and before the broker drops
// the connection if nothing arrives.
func TestVisible(t *testing.T) {
	url := devstack.AMQP(t)
	proxy := newProxy(t, url)
	observer, c := dial(t, url), dial(t, proxy.url)
	since := func() time.Time {
		at, _ := c.transport.Visible()
		return at
	}
	first := since()
	if first.IsZero() || time.Since(first) > 10*time.Second {
		t.Fatalf("visible since %v", first)
	}
	absent := func() bool {
		gone, err := observer.transport.Absent(t.Context(), []string{c.config.Instance.ID})
		must(t, err)
		return len(gone) > 0
	}
	if absent() {
		t.Error("absent after Dial")
	}

	g := c.awaitGeneration(t.Context(), nil)
	_, changed := c.transport.Visible()
	proxy.Cut()
	<-changed
	if at := since(); !at.IsZero() && !at.After(first) {
		t.Errorf("visible since %v after a cut, before since %v", at, first)
	}
	g = c.awaitGeneration(t.Context(), g)
	second := since()
	if !second.After(first) {
		t.Errorf("visible since %v after reconnecting, before since %v", second, first)
	}

	// If the queue is deleted, the connection is reopened.
	ch, err := g.consume.Channel()
	must(t, err)
	_, err = ch.QueueDelete(g.control, false, false, true) // the connection may end before the reply
	must(t, err)
	c.awaitGeneration(t.Context(), g)
	if third := since(); !third.After(second) {
		t.Errorf("visible since %v with a new queue, before since %v", third, second)
	}
	eventually(t, "its new queue exists", func() bool { return !absent() })
	closeConn(t, c)
	if at := since(); !at.IsZero() {
		t.Errorf("visible since %v after Close", at)
	}
}

// For every heartbeat, a Conn that receives nothing considers itself invisible before RabbitMQ drops its connection and
// others act on that. This holds if clocks differ by 2 %, others act half a second after they see it, and this process
// notices a quarter of a second late.
func TestSilenceIsNoticedBeforeBrokerDropsConnection(t *testing.T) {
	for n := 1; n <= 300; n++ {
		heartbeat := time.Duration(n) * time.Second
		lastByte := max(heartbeat/2, heartbeat-time.Second) // before the cut
		dropped := 2*heartbeat - lastByte
		noticed, acted := silence(heartbeat)*102/100+250*time.Millisecond, dropped*98/100+500*time.Millisecond
		if noticed > acted {
			t.Errorf("heartbeat %v: noticed %v after the cut, acted on after %v", heartbeat, noticed, acted)
		}
	}
}
