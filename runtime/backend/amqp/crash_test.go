package amqp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

func init() { children["holder"] = holder }

// holder serves "s" with two slots and never replies. It prints when a call has started. It runs until it is killed.
func holder() int {
	c, err := Dial(context.Background(), Config{URLs: []string{os.Getenv("AF_TEST_URL")},
		Instance: backend.Instance{ID: "holder"}})
	if err == nil {
		_, err = c.Calls().Serve(context.Background(), backend.Endpoint{Service: "s", Concurrency: 2},
			func(context.Context, *backend.Request, func(*backend.Reply)) {
				fmt.Println("began")
				select {}
			})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("serves")
	select {}
}

// startHolder starts a holder and makes calls to it, of which two have started.
func startHolder(t *testing.T, url string, calls int) (holder *testkit.Child, client *Conn, done []chan result) {
	t.Helper()
	holder = testkit.Start(t, "holder", "AF_TEST_URL="+url)
	holder.Says(t, "serves")
	client = dial(t, url)
	done = publishCalls(t, client, "s", calls, nil, 0)
	holder.Says(t, "began")
	holder.Says(t, "began")
	return holder, client, done
}

func TestCallsFailSoonAfterOnlyInstanceIsKilled(t *testing.T) {
	url := devstack.AMQP(t)
	c, client, done := startHolder(t, url, 100)
	must(t, c.Process.Kill())
	begun := time.Now()
	for _, d := range done {
		r := <-d
		if !errors.Is(r.err, backend.ErrUnavailable) {
			t.Errorf("%v", r.err)
		}
		if late := r.at.Sub(begun); late > 4*checkAfter {
			t.Fatalf("ended %v after the kill", late)
		}
	}
	t.Logf("all ended %v after the kill", time.Since(begun))
	_, err := client.Calls().Call(t.Context(), newRequest("s"))
	if !errors.Is(err, backend.ErrNoInstance) {
		t.Errorf("%v", err)
	}
}

func TestCallsOfKilledInstanceAreRedelivered(t *testing.T) {
	url := devstack.AMQP(t)
	c, _, done := startHolder(t, url, 2)
	again := make(chan bool, 2)
	serve(t, dial(t, url), "s", 2, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		again <- req.Redelivered
		reply(&backend.Reply{})
	})
	must(t, c.Process.Kill())
	for _, d := range done {
		must(t, (<-d).err)
		if !<-again {
			t.Error("a request that was started elsewhere is not marked as redelivered")
		}
	}
}

// A call that was started at a killed instance isn't "not sent" just because the next instance hasn't started it.
func TestRefusedRedeliveryHasUnknownOutcome(t *testing.T) {
	url := devstack.AMQP(t)
	c, _, done := startHolder(t, url, 2)
	s, began, release := serveBlocking(t, dial(t, url), "s", 1)
	must(t, c.Process.Kill())
	<-began
	eventually(t, "the other request has arrived", func() bool {
		s.(*serving).mu.Lock()
		defer s.(*serving).mu.Unlock()
		return len(s.(*serving).requests) == 2
	})
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	ends := make(chan result, 2)
	for _, d := range done {
		go func() { ends <- <-d }()
	}
	refused := <-ends
	must(t, refused.err)
	wantError(t, asNil(refused.reply.Err), backend.ErrUnavailable, backend.OutcomeUnknown)
	close(release)
	must(t, (<-ends).err)
	must(t, <-drained)
}
