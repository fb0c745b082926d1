package amqp

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
)

// A request that runs for long is acknowledged, lest the broker closes the channel: when that ends all the same, no other
// instance gets it, and its answer still goes over the next connection.
func TestRequestThatRunsForLongIsAcknowledged(t *testing.T) {
	defer func(d time.Duration) { ackAfter = d }(ackAfter)
	ackAfter = 50 * time.Millisecond
	proxy := newProxy(t, devstack.AMQP(t))
	client := dial(t, proxy.direct)
	_, began, release := hold(t, dial(t, proxy.url), "s", 4)
	call := calling(t.Context(), client, request("s"))
	<-began
	_, second, released := hold(t, dial(t, proxy.direct), "s", 4)
	close(released)
	time.Sleep(20 * ackAfter) // it would be acknowledged in the meantime
	proxy.Cut()
	select {
	case id := <-second:
		t.Errorf("%s has come again", id)
	case <-time.After(500 * time.Millisecond): // what is put back comes in a few milliseconds
	}
	close(release)
	if r := <-call; r.err != nil || r.reply.Err != nil {
		t.Errorf("what ran: %v %v", r.err, r.reply)
	}
}
