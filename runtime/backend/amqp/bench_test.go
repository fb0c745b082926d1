package amqp

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/latency"
	"github.com/afgen/afgen/runtime/backend"
)

// BenchmarkCall measures calls by number of callers and body size. For comparison, it measures the same round trips
// with amqp091-go alone: two connections, one channel each, direct reply-to, acknowledged.
func BenchmarkCall(b *testing.B) {
	url := devstack.AMQP(b)
	for _, load := range []struct{ callers, body int }{
		{1, 100}, {64, 100}, {256, 100}, {1, 10_000}, {64, 10_000}, {256, 10_000},
	} {
		body := []byte(`{"x":"` + strings.Repeat("x", load.body) + `"}`)
		name := fmt.Sprintf("callers=%d/bytes=%d", load.callers, load.body)
		b.Run(name+"/afgen", func(b *testing.B) {
			const service = "bench"
			server, client := dial(b, url), dial(b, url)
			serve(b, server, service, 256, echo)
			latency.Calls(b, load.callers, func() error {
				_, err := client.Calls().Call(b.Context(), &backend.Request{
					Service: service, Method: "M", ID: "id", Caller: "me", Timeout: time.Minute, Body: body,
				})
				return err
			})
		})
		b.Run(name+"/bare", func(b *testing.B) {
			latency.Calls(b, load.callers, bareCaller(b, url, body, &writeCounter{}))
		})
	}
}

// BenchmarkCallRatio alternates between calls and the same round trips with amqp091-go alone, so that both get the same
// share of a busy machine. It reports the ratio of their rates, and what each writes to its sockets per call.
func BenchmarkCallRatio(b *testing.B) {
	const rounds = 10
	url := devstack.AMQP(b)
	body := []byte(`{"x":"` + strings.Repeat("x", 100) + `"}`)
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var ours, theirs writeCounter
			server, client := dial(b, url), dial(b, url)
			serve(b, server, "ratio", 256, echo)
			for _, c := range []*Conn{server, client} {
				g, err := c.usable()
				must(b, asNil(err))
				ours.count(g.publish.cork)
				ours.count(g.consume.cork)
			}
			call := func() error {
				_, err := client.Calls().Call(b.Context(), &backend.Request{Service: "ratio", Method: "M", ID: "id",
					Caller: "me", Timeout: time.Minute, Body: body, Fingerprint: "0123456789abcdef"})
				return err
			}
			bareCall := bareCaller(b, url, body, &theirs)
			must(b, call())
			must(b, bareCall())
			var took, bareTook time.Duration
			ours.reset()
			theirs.reset()
			b.ResetTimer()
			for round := range rounds {
				n := b.N*(round+1)/rounds - b.N*round/rounds
				begun := time.Now()
				latency.Parallel(b, callers, n, func(int) error { return call() })
				between := time.Now()
				latency.Parallel(b, callers, n, func(int) error { return bareCall() })
				took += between.Sub(begun)
				bareTook += time.Since(between)
			}
			b.StopTimer()
			b.ReportMetric(bareTook.Seconds()/took.Seconds(), "×bare")
			b.ReportMetric(float64(b.N)/took.Seconds(), "calls/s")
			b.ReportMetric(float64(b.N)/bareTook.Seconds(), "bare-calls/s")
			ours.report(b, "")
			theirs.report(b, "bare-")
		})
	}
}

// A writeCounter counts writes to sockets and their bytes.
type writeCounter struct{ writes, bytes atomic.Int64 }

func (c *writeCounter) reset() {
	c.writes.Store(0)
	c.bytes.Store(0)
}

func (c *writeCounter) report(b *testing.B, prefix string) {
	b.ReportMetric(float64(c.writes.Load())/float64(b.N), prefix+"writes/call")
	b.ReportMetric(float64(c.bytes.Load())/float64(b.N), prefix+"bytes/call")
}

// A countedWriter counts what it passes on.
type countedWriter struct {
	io.Writer
	counter *writeCounter
}

func (w countedWriter) Write(b []byte) (int, error) {
	w.counter.writes.Add(1)
	w.counter.bytes.Add(int64(len(b)))
	return w.Writer.Write(b)
}

func (c *writeCounter) count(k *cork) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.out = countedWriter{k.out, c}
}

// dial opens a channel with amqp091-go alone, whose writes are counted.
func (c *writeCounter) dial(b *testing.B, url string) *amqp091.Channel {
	conn, err := amqp091.DialConfig(url, amqp091.Config{Dial: func(network, addr string) (net.Conn, error) {
		sock, err := amqp091.DefaultDial(time.Minute)(network, addr)
		if err != nil {
			return nil, err
		}
		counted := newCork(sock) // never held
		c.count(counted)
		return counted, nil
	}})
	must(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	must(b, err)
	return ch
}

// bareCaller returns a call made with amqp091-go alone.
func bareCaller(b *testing.B, url string, body []byte, counter *writeCounter) func() error {
	queue := "bare" + newID()
	server, client := counter.dial(b, url), counter.dial(b, url)
	_, err := server.QueueDeclare(queue, false, true, false, false, nil)
	must(b, err)
	must(b, server.Qos(512, 0, false))
	requests, err := server.Consume(queue, "", false, false, false, false, nil)
	must(b, err)
	go func() {
		for d := range requests {
			go func() {
				_ = server.Publish("", d.ReplyTo, false, false, amqp091.Publishing{CorrelationId: d.CorrelationId, Body: d.Body})
				_ = d.Ack(false)
			}()
		}
	}()
	replies, err := client.Consume(replyTo, "", true, false, false, false, nil)
	must(b, err)
	var mu sync.Mutex
	pending := map[string]chan amqp091.Delivery{}
	go func() {
		for d := range replies {
			mu.Lock()
			ch := pending[d.CorrelationId]
			delete(pending, d.CorrelationId)
			mu.Unlock()
			ch <- d
		}
	}()
	var last atomic.Int64
	return func() error {
		id, ch := strconv.FormatInt(last.Add(1), 10), make(chan amqp091.Delivery, 1)
		mu.Lock()
		pending[id] = ch
		mu.Unlock()
		err := client.Publish("", queue, true, false, amqp091.Publishing{CorrelationId: id, ReplyTo: replyTo, Body: body})
		if err == nil {
			<-ch
		}
		return err
	}
}

// BenchmarkHint measures hints from publishing, in confirmed batches, to acknowledgement.
func BenchmarkHint(b *testing.B) {
	for name, change := range map[string]func(*Config){
		"classic": func(*Config) {},
		"quorum":  func(c *Config) { c.Quorum = true },
	} {
		b.Run(name, func(b *testing.B) {
			const batch = 256
			t := dial(b, devstack.AMQP(b), change).Transport()
			l, err := t.Listen(b.Context(), "q", 512)
			must(b, err)
			defer l.Close()
			ids := make([]string, batch)
			for i := range ids {
				ids[i] = "id" + strconv.Itoa(i)
			}
			b.ResetTimer()
			for done := 0; done < b.N; {
				taken, err := t.Hint(b.Context(), "q", ids[:min(batch, b.N-done)])
				must(b, err)
				for range taken {
					hints, err := l.Next(b.Context(), 1)
					must(b, err)
					hints[0].Done()
				}
				done += len(taken)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "hints/s")
		})
	}
}
