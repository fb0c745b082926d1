package amqp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
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

// A child is a process of this binary.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
}

func startChild(t *testing.T, name, url string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), "AF_TEST_CHILD="+name, "AF_TEST_URL="+url)
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	c.lines = bufio.NewReader(out)
	must(t, c.cmd.Start())
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, out)
		_ = c.cmd.Wait()
	})
	return c
}

func (c *child) says(t *testing.T, want string) {
	t.Helper()
	if line, err := c.lines.ReadString('\n'); strings.TrimSpace(line) != want {
		t.Fatalf("the child says %q, %v; want %q", line, err, want)
	}
}

func TestCallsAtTheOnlyInstanceEndSoonAfterItIsKilled(t *testing.T) {
	url := devstack.AMQP(t)
	c := startChild(t, "holder", url)
	c.says(t, "serves")
	client := dial(t, url)
	done := queued(t, client, "s", 100, nil, 0)
	c.says(t, "began")
	c.says(t, "began")
	must(t, c.cmd.Process.Kill())
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
	c := startChild(t, "holder", url)
	c.says(t, "serves")
	client := dial(t, url)
	done := queued(t, client, "s", 2, nil, 0)
	c.says(t, "began")
	c.says(t, "began")
	again := make(chan bool, 2)
	serve(t, dial(t, url), "s", 2, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		again <- req.Redelivered
		reply(&backend.Reply{})
	})
	must(t, c.cmd.Process.Kill())
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
	c := startChild(t, "holder", url)
	c.says(t, "serves")
	client := dial(t, url)
	done := queued(t, client, "s", 2, nil, 0)
	c.says(t, "began")
	c.says(t, "began")
	s, began, release := hold(t, dial(t, url), "s", 1)
	must(t, c.cmd.Process.Kill())
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
