//go:build long && unix

package servers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
)

// nodesURI returns the URI of nodes of a cluster, in this order.
func nodesURI(c *devstack.Brokers, order ...int) string {
	hosts := make([]string, 0, len(order))
	for _, i := range order {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", c.Nodes[i].Port))
	}
	return "amqp://guest:guest@" + strings.Join(hosts, ",") + "/"
}

// receives waits for a raw message.
func (f *frozenFixture) receives(queue, want string) {
	f.Helper()
	ctx, received := context.WithTimeout(f.Context(), time.Minute)
	defer received()
	got := ""
	err := f.client.Receive(ctx, queue, func(_ context.Context, body json.RawMessage) error {
		got = string(body)
		received()
		return nil
	})
	if got != want {
		f.Errorf("received %s: %v", got, err)
	}
}

// homeOf returns the node of a queue.
func homeOf(t *testing.T, c *devstack.Brokers, queue string) *devstack.Server {
	t.Helper()
	var q struct{ Node string }
	text, err := c.Nodes[0].Admin("GET", "queues/%2F/"+queue, nil)
	if err == nil {
		err = json.Unmarshal(text, &q)
	}
	for _, n := range c.Nodes {
		if err == nil && n.Node == q.Node {
			return n
		}
	}
	t.Fatalf("queue %s: %s, %v", queue, text, err)
	return nil
}

// healthy waits until both Apps are in no degraded mode, and returns how long that took.
func (f *frozenFixture) healthy() time.Duration {
	f.Helper()
	begun := time.Now()
	testkit.Succeeds(f, "health", func() error {
		for _, app := range []*af.App{f.server, f.client} {
			if h := app.Health(); len(h.Degraded) > 0 {
				return fmt.Errorf("%+v", h.Conditions)
			}
		}
		return nil
	})
	return time.Since(begun)
}

// Nodes of a cluster of three are killed and frozen, one at a time. Programs whose URI names all nodes use another one.
// Quorum queues keep raw messages, and tasks run once each, also with classic queues. The queue of a service is on one
// node: without that node, calls fail at once until it is back, or until an administrator removes it from the cluster.
func TestLongRabbitMQCluster(t *testing.T) {
	for name, quorum := range map[string]bool{"classic": false, "quorum": true} {
		t.Run(name, func(t *testing.T) { testCluster(t, quorum) })
	}
}

func testCluster(t *testing.T, quorum bool) {
	c := devstack.Cluster(t, 3)
	f := newBrokerFixture(t, nodesURI(c, 1, 2, 0), nodesURI(c, 0, 1, 2), quorum)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	accepted := f.submitUntil(ctx)
	goOn := func(what string) {
		t.Helper()
		n := f.worker.count()
		testkit.Eventually(t, "tasks run: "+what, func() bool { return f.worker.count() > n+100 })
	}
	goOn("all nodes are up")
	testkit.Succeeds(t, "a raw message", func() error { return f.client.Send(t.Context(), "kept", "before") })

	// The client's node dies. The service's queue is on another one.
	f.do(c.Nodes[0].Kill())
	killed := time.Now()
	testkit.Eventually(t, "the client notices", func() bool {
		return f.call(t.Context()) != nil || time.Since(killed) > time.Second
	})
	f.callsSucceed()
	t.Logf("calls succeed %v after the client's node was killed", time.Since(killed))
	goOn("a node is down")
	if quorum { // a classic queue is unavailable
		f.receives("kept", `"before"`)
	}
	f.do(c.Nodes[0].Start())
	if !quorum {
		f.receives("kept", `"before"`)
	}
	t.Logf("healthy %v after the node was started", f.healthy())

	// The node that both programs use now is frozen.
	f.do(c.Nodes[1].Freeze())
	frozen := time.Now()
	testkit.Eventually(t, "a call fails", func() bool { return f.call(t.Context()) != nil })
	t.Logf("the first call failed %v after its node was frozen", time.Since(frozen))
	goOn("a node is frozen")
	t.Logf("100 tasks ran within %v after a node was frozen", time.Since(frozen))
	f.do(c.Nodes[1].Thaw())
	thawed := time.Now()
	f.callsSucceed()
	t.Logf("calls succeed %v after the thaw; healthy %v later", time.Since(thawed), f.healthy())

	// The node of the service's queue dies.
	home := homeOf(t, c, "af.rpc.adder")
	f.do(home.Kill())
	testkit.Eventually(t, "a call fails", func() bool { return f.call(t.Context()) != nil })
	goOn("the node of the service is down")
	// RabbitMQ 4 accepts messages for this queue and doesn't answer questions about it.
	if err := f.call(t.Context()); !errors.Is(err, af.ErrUnavailable) && !errors.Is(err, af.ErrDeadlineExceeded) {
		t.Errorf("a call: %v", err)
	}
	f.do(home.Start())
	started := time.Now()
	f.callsSucceed()
	t.Logf("calls succeed %v after the service's node was started; healthy %v later", time.Since(started), f.healthy())

	// It dies and will not return.
	home = homeOf(t, c, "af.rpc.adder")
	f.do(home.Kill())
	testkit.Eventually(t, "a call fails", func() bool { return f.call(t.Context()) != nil })
	for _, other := range c.Nodes {
		if other != home {
			f.do(other.Ctl("forget_cluster_node", home.Node))
			break
		}
	}
	f.callsSucceed()
	goOn("a node was forgotten")
	stop()
	f.ranOnce(accepted())
}
