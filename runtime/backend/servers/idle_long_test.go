//go:build long && unix

package servers_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
)

// A meter counts the requests that clients send to a server.
type meter struct {
	next func(data []byte) (size int, request bool) // of the first complete message in data; 0 if it is incomplete

	mu    sync.Mutex
	count int
	rest  map[int][]byte // incomplete messages by connection
}

func newMeter(next func([]byte) (int, bool)) *meter {
	return &meter{next: next, rest: map[int][]byte{}}
}

func (m *meter) sent(conn int, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := append(m.rest[conn], data...)
	for {
		size, request := m.next(rest)
		if size == 0 {
			break
		}
		rest = rest[size:]
		if request {
			m.count++
		}
	}
	m.rest[conn] = rest
}

func (m *meter) take() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.count = 0 }()
	return m.count
}

// mongoMessage parses a message of MongoDB's protocol.
func mongoMessage(data []byte) (int, bool) {
	if len(data) < 4 {
		return 0, false
	}
	size := int(binary.LittleEndian.Uint32(data))
	if len(data) < size {
		return 0, false
	}
	return size, true
}

// amqpFrame parses the protocol header or a frame. Heartbeats and the parts of a message are no requests.
func amqpFrame(data []byte) (int, bool) {
	const header, end, method = 7, 1, 1
	if len(data) >= 8 && string(data[:4]) == "AMQP" {
		return 8, false
	}
	if len(data) < header {
		return 0, false
	}
	size := header + int(binary.BigEndian.Uint32(data[3:])) + end
	if len(data) < size {
		return 0, false
	}
	return size, data[0] == method
}

// redisCommand counts what the client writes at once, which is one command or a pipeline.
func redisCommand(data []byte) (int, bool) { return len(data), len(data) > 0 }

// An idle process with five queues sends few requests and keeps few connections.
func TestIdleCost(t *testing.T) {
	var a address
	meters := map[string]*meter{
		"mongodb": newMeter(mongoMessage), "redis": newMeter(redisCommand), "rabbitmq": newMeter(amqpFrame),
	}
	proxies := map[string]*testkit.Proxy{}
	through := func(name, uri string) string {
		p, to := testkit.NewProxyURI(t, uri, testkit.ProxyConfig{Sent: meters[name].sent})
		proxies[name] = p
		return to
	}
	a.Mongo = through("mongodb", devstack.Mongo(t))
	u, err := url.Parse(a.Mongo)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("directConnection", "true")
	query.Set("maxIdleTimeMS", "2000") // instead of a minute
	u.RawQuery = query.Encode()
	a.Mongo = u.String()
	a.Redis = through("redis", devstack.Redis(t))
	a.AMQP = through("rabbitmq", devstack.AMQP(t))
	openAt(t, a, func(app *af.App) {
		for i := range 5 {
			af.RegisterWorker(app, af.Worker{Name: fmt.Sprint("idle", i), Type: "Idle", Max: 10}, &idleWorker{})
		}
	})
	const settle, window = 15 * time.Second, 15 * time.Second // the driver closes connections every 10 s
	time.Sleep(settle)
	for _, m := range meters {
		m.take()
	}
	time.Sleep(window)
	requests, connections := 0, 0
	for name, m := range meters {
		n, open := m.take(), proxies[name].Connections()
		t.Logf("%s: %.1f requests/s, %d connections", name, float64(n)/window.Seconds(), open)
		requests, connections = requests+n, connections+open
	}
	if rate := float64(requests) / window.Seconds(); rate > 19 || connections > 11 {
		t.Errorf("%.1f requests/s and %d connections, want at most 19 and 11", rate, connections)
	}
}

type idleWorker struct{}

func (idleWorker) Run(context.Context, int) (int, error) { return 0, nil }
