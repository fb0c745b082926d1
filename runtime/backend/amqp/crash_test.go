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

// holder serves "s" with two slots, and answers nothing, until it is killed. It says when a call has begun.
func holder() int {
	c, err := Dial(context.Background(), Config{URLs: []string{os.Getenv("AF_TEST_URL")}, Instance: backend.Instance{ID: "holder"}})
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

// holding starts a holder, and makes calls to it of which it has begun two.
func holding(t *testing.T, url string, calls int) (holder *testkit.Child, client *Conn, done []chan result) {
	t.Helper()
	holder = testkit.Start(t, "holder", "AF_TEST_URL="+url)
	holder.Says(t, "serves")
	client = dial(t, url)
	done = queued(t, client, "s", calls, nil, 0)
	holder.Says(t, "began")
	holder.Says(t, "began")
	return holder, client, done
}

func TestCallsAtTheOnlyInstanceEndSoonAfterItIsKilled(t *testing.T) {
	url := devstack.AMQP(t)
	c, client, done := holding(t, url, 100)
	must(t, c.Process.Kill())
	begun := time.Now()
	for _, d := range done {
		r := <-d
		if !errors.Is(r.err, backend.ErrUnavailable) {
			t.Errorf("%v", r.err)
		}
		if late := r.at.Sub(begun); late > 4*lookAfter {
			t.Fatalf("it ended %v after the kill", late)
		}
	}
	t.Logf("all ended %v after the kill", time.Since(begun))
	_, err := client.Calls().Call(t.Context(), request("s"))
	if !errors.Is(err, backend.ErrNoInstance) {
		t.Errorf("%v", err)
	}
}

func TestCallsOfAnInstanceThatIsKilledGoOnAsDeliveredBefore(t *testing.T) {
	url := devstack.AMQP(t)
	c, _, done := holding(t, url, 2)
	again := make(chan bool, 2)
	serve(t, dial(t, url), "s", 2, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		again <- req.Redelivered
		reply(&backend.Reply{})
	})
	must(t, c.Process.Kill())
	for _, d := range done {
		must(t, (<-d).err)
		if !<-again {
			t.Error("a request that was begun elsewhere comes as new")
		}
	}
}

// What was begun at an instance that was killed is not "not sent" because the next one hasn't begun it.
func TestRefusalOfARequestThatCameBeforeLeavesItsOutcomeUnknown(t *testing.T) {
	url := devstack.AMQP(t)
	c, _, done := holding(t, url, 2)
	s, began, release := hold(t, dial(t, url), "s", 1)
	must(t, c.Process.Kill())
	<-began
	eventually(t, "the other has arrived", func() bool {
		s.(*serving).mu.Lock()
		defer s.(*serving).mu.Unlock()
		return len(s.(*serving).visits) == 2
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
