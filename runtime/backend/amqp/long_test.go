package amqp

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
)

// A long-running request is acknowledged before the broker would close the channel. If the connection then ends, no
// other instance gets the request, and its reply is sent over the next connection.
func TestLongRunningRequestIsAcknowledged(t *testing.T) {
	const ackAfter = 50 * time.Millisecond
	proxy := newProxy(t, devstack.AMQP(t))
	client := dial(t, proxy.direct)
	server := dial(t, proxy.url, func(c *Config) { c.rebindEvery, c.ackAfter = ackAfter, ackAfter })
	_, began, release := serveBlocking(t, server, "s", 4)
	call := startCall(t.Context(), client, newRequest("s"))
	<-began
	_, second, released := serveBlocking(t, dial(t, proxy.direct), "s", 4)
	close(released)
	time.Sleep(20 * ackAfter) // by now it is acknowledged
	proxy.Cut()
	select {
	case id := <-second:
		t.Errorf("%s was redelivered", id)
	case <-time.After(500 * time.Millisecond): // redelivery takes a few milliseconds
	}
	close(release)
	if r := <-call; r.err != nil || r.reply.Err != nil {
		t.Errorf("running call: %v %v", r.err, r.reply)
	}
}
