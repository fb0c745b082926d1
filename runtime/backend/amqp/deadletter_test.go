package amqp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

// eachKind tests both kinds of queues.
func eachKind(t *testing.T, test func(t *testing.T, c *Conn, queue string)) {
	for name, quorum := range map[string]bool{"classic": false, "quorum": true} {
		t.Run(name, func(t *testing.T) {
			test(t, dial(t, devstack.AMQP(t), func(c *Config) { c.Quorum = quorum }), devstack.Name(t))
		})
	}
}

// receiveUntil receives the messages of a queue until fn returns true.
func receiveUntil(
	t *testing.T, c *Conn, queue string, fn func(m *backend.Message, n int) (h backend.Handled, done bool),
) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, ended := 0, false
	_ = c.Transport().Receive(ctx, queue, func(_ context.Context, m *backend.Message) (h backend.Handled) {
		n++
		if h, ended = fn(m, n); ended {
			cancel()
		}
		return h
	})
	if !ended {
		t.Fatalf("not done after %d messages", n)
	}
}

// If a receiver dies after it has published a dead letter, and before it has acknowledged the original, the message is
// moved again: there are two dead letters, and never none.
func TestCrashWhileMovingLosesNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, c *Conn, q string) {
		must(t, c.Transport().Send(t.Context(), q, aMessage(`1`)))
		receiveUntil(t, c, q, func(m *backend.Message, n int) (h backend.Handled, done bool) {
			h.Dead = &backend.DeadLetter{Reason: backend.DeadPermanent}
			h.Moved = func(err error) {
				must(t, err)
				if n == 1 {
					c.awaitGeneration(t.Context(), nil).end(unavailable(errClosed()))
				}
			}
			if m.Attempt != n {
				t.Errorf("attempt %d at delivery %d", m.Attempt, n)
			}
			return h, n == 2
		})
		receiveUntil(t, c, q+backend.DeadSuffix, func(m *backend.Message, n int) (backend.Handled, bool) {
			if m.Dead == nil || m.Dead.Attempts != n || string(m.Body) != `1` {
				t.Errorf("dead letter %s: %+v", m.Body, m.Dead)
			}
			return backend.Handled{Done: true}, n == 2
		})
	})
}

// A message that waits for its redelivery is not lost with the connection, and the delivery is counted.
func TestHeldMessageSurvivesConnection(t *testing.T) {
	eachKind(t, func(t *testing.T, c *Conn, q string) {
		must(t, c.Transport().Send(t.Context(), q, aMessage(`1`)))
		must(t, c.Transport().Send(t.Context(), q, aMessage(`2`)))
		receiveUntil(t, c, q, func(m *backend.Message, n int) (backend.Handled, bool) {
			switch {
			case n == 1:
				return backend.Handled{Delay: time.Hour}, false
			case n == 2:
				c.awaitGeneration(t.Context(), nil).end(unavailable(errClosed()))
				return backend.Handled{Delay: time.Hour}, false
			case m.Attempt != 2:
				t.Errorf("attempt %d of %s", m.Attempt, m.Body)
			}
			return backend.Handled{Done: true}, n == 4
		})
	})
}

// A dead-letter queue that is full refuses messages, which then stay in their queue.
func TestFullDeadLetterQueueRefuses(t *testing.T) {
	eachKind(t, func(t *testing.T, c *Conn, q string) {
		dead, tr := q+backend.DeadSuffix, &c.transport
		g := c.awaitGeneration(t.Context(), nil)
		const part = 500
		for range backend.MaxDead / part {
			messages := make([]*confirmedPublishing, part)
			for i := range messages {
				messages[i] = &confirmedPublishing{publishing: publishing{
					key: prefixRaw + dead, msg: amqp091.Publishing{Body: []byte(`0`)},
				}}
			}
			if err := tr.publish(t.Context(), g, prefixRaw+dead, tr.rawArgs(dead), messages); err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				if !m.accepted { // the first ones of a quorum queue without a leader
					must(t, tr.Send(t.Context(), dead, aMessage(`0`)))
				}
			}
		}
		var err error
		eventually(t, "the queue is full", func() bool { // a quorum queue refuses soon after its limit
			err = tr.Send(t.Context(), dead, aMessage(`1`))
			return err != nil
		})
		wantError(t, err, backend.ErrResourceExhausted, backend.OutcomeNotSent)
		must(t, tr.Send(t.Context(), q, aMessage(`1`)))
		var moved error
		receiveUntil(t, c, q, func(m *backend.Message, n int) (h backend.Handled, done bool) {
			if n == 2 {
				return backend.Handled{Done: true}, m.Attempt == 2
			}
			h.Dead, h.Moved = &backend.DeadLetter{}, func(err error) { moved = err }
			return h, false
		})
		if !errors.Is(moved, backend.ErrResourceExhausted) {
			t.Errorf("moved: %v", moved)
		}
	})
}

// Messages of other publishers keep their properties and headers when they are redelivered and moved, except those that
// route them elsewhere or make them expire.
func TestForeignMessages(t *testing.T) {
	url, q := devstack.AMQP(t), devstack.Name(t)
	c, foreign := dial(t, url), bare(t, url)
	must(t, asPlain(c.awaitGeneration(t.Context(), nil).ensureQueue(t.Context(), prefixRaw+q, c.transport.rawArgs(q))))
	copies, err := foreign.QueueDeclare("", false, false, true, false, nil)
	must(t, err)
	sent := amqp091.Publishing{
		Headers: amqp091.Table{
			"af-md-n": int32(5), "af-md-b": []byte("x"), "af-attempts": "-3", "other": amqp091.Table{"a": int64(1)},
			"CC": []any{copies.Name}, "traceparent": "junk",
		},
		ContentType: "text/x", Priority: 3, CorrelationId: "c", ReplyTo: "r", Expiration: "60000", MessageId: "m",
		Type: "t", AppId: "a", UserId: userOf(t, url), Body: []byte(`{"not": json`),
	}
	must(t, foreign.Publish("", prefixRaw+q, false, false, sent))
	receiveUntil(t, c, q, func(m *backend.Message, n int) (h backend.Handled, done bool) {
		if m.Attempt != n || string(m.Body) != `{"not": json` || fmt.Sprint(m.Metadata) != "map[b:x n:5]" {
			t.Errorf("delivery %d: %+v", n, m)
		}
		if n == 2 {
			h.Dead = &backend.DeadLetter{Message: strings.Repeat("é", backend.MaxDeadText)}
		}
		return h, n == 2
	})
	d, ok, err := foreign.Get(prefixRaw+q+backend.DeadSuffix, true)
	if err != nil || !ok {
		t.Fatalf("no dead letter: %v", err)
	}
	got := fmt.Sprintln(d.ContentType, d.Priority, d.CorrelationId, d.ReplyTo, d.Expiration, d.MessageId, d.Type, d.AppId,
		d.UserId, d.DeliveryMode, d.Headers["CC"], d.Headers["other"], len(text(d.Headers["af-msg"])))
	if want := fmt.Sprintln("text/x", 3, "c", "r", "", "m", "t", "a", "", 2, nil, amqp091.Table{"a": int64(1)},
		backend.MaxDeadText); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if state, err := foreign.QueueDeclarePassive(copies.Name, false, false, true, false, nil); err != nil ||
		state.Messages != 1 {
		t.Errorf("the other queue has %d messages, %v", state.Messages, err)
	}
}

// Metadata of other publishers is accepted within the same bound. Beyond it, a message is delivered without metadata.
func TestForeignMetadataIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		headers amqp091.Table
		want    int // pieces of metadata
	}{
		"most":     {amqp091.Table{"af-md-a": strings.Repeat("x", backend.MaxMetadata-1)}, 1},
		"too_much": {amqp091.Table{"af-md-a": strings.Repeat("x", backend.MaxMetadata), "af-md-b": "y"}, 0},
		"no_utf8":  {amqp091.Table{"af-md-a": "\xff"}, 0},
		"no_name":  {amqp091.Table{"af-md-": "x", "af-md-a": "y"}, 1},
		"none":     {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := decodeMessage(&amqp091.Delivery{Headers: c.headers, Body: []byte(`1`)})
			if len(m.Metadata) != c.want || (err != nil) != (c.want == 0 && c.headers != nil) || m.Attempt != 1 {
				t.Errorf("%d pieces of metadata, attempt %d, %v", len(m.Metadata), m.Attempt, err)
			}
		})
	}
}

// Headers that almost fill a frame leave space for those of a copy.
func TestCopyFitsIntoFrame(t *testing.T) {
	h := amqp091.Table{"af-md-a": "b", "big": strings.Repeat("x", 64<<10)}
	msg := again(&amqp091.Delivery{Headers: h}, maxHeaders)
	if n := size(msg.Headers); n > maxHeaders-maxOwnHeaders || msg.Headers["af-md-a"] != "b" {
		t.Errorf("%d bytes of headers", n)
	}
}

// Of many failed messages that wait, a receiver holds some, and delivers the others early.
func TestHeldMessagesAreBounded(t *testing.T) {
	c, q := dial(t, devstack.AMQP(t)), devstack.Name(t)
	const n = maxHeld + 10
	for range n {
		must(t, c.Transport().Send(t.Context(), q, aMessage(`1`)))
	}
	receiveUntil(t, c, q, func(m *backend.Message, got int) (backend.Handled, bool) {
		if (m.Attempt > 1) != (got > n) {
			t.Errorf("message %d has attempt %d", got, m.Attempt)
		}
		return backend.Handled{Delay: time.Hour}, got == n+10
	})
}

func userOf(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil || u.User == nil {
		t.Fatalf("no user in the URI: %v", err)
	}
	return u.User.Username()
}

func init() { children["dying"] = dieReceiving }

// dieReceiving receives a raw message and kills its own process.
func dieReceiving() int {
	ctx := context.Background()
	c, err := Dial(ctx, Config{URLs: []string{os.Getenv("AF_TEST_URL")}, Instance: backend.Instance{ID: "dying"},
		Quorum: os.Getenv("AF_TEST_QUORUM") == "true"})
	if err == nil {
		queue := os.Getenv("AF_TEST_QUEUE")
		err = c.Transport().Receive(ctx, queue, func(_ context.Context, m *backend.Message) backend.Handled {
			fmt.Printf("attempt %d\n", m.Attempt)
			p, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = p.Kill()
			}
			fmt.Println(err)
			select {}
		})
	}
	fmt.Println(err)
	return 1
}

// Deliveries to processes that are killed are counted, although the broker only marks the message as redelivered.
func TestKilledReceiversAreCounted(t *testing.T) {
	eachKind(t, func(t *testing.T, c *Conn, q string) {
		must(t, c.Transport().Send(t.Context(), q, aMessage(`1`)))
		for n := range 3 {
			child := testkit.Start(t, "dying", "AF_TEST_URL="+c.config.URLs[0], "AF_TEST_QUEUE="+q,
				fmt.Sprint("AF_TEST_QUORUM=", c.config.Quorum))
			child.Says(t, fmt.Sprintf("attempt %d", n+1))
			_ = child.Wait() // that it was killed
		}
		must(t, c.Transport().Send(t.Context(), q, aMessage(`2`)))
		receiveUntil(t, c, q, func(m *backend.Message, n int) (backend.Handled, bool) {
			if want := map[string]int{`1`: 4, `2`: 1}[string(m.Body)]; m.Attempt != want {
				t.Errorf("%s has attempt %d, want %d", m.Body, m.Attempt, want)
			}
			return backend.Handled{Done: true}, n == 2
		})
	})
}
