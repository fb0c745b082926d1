//go:build unix

package servers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func init() { children["chaos"] = func() int { return chaos.Child(openAddress) } }

// An address is the three URIs passed to a process.
type address struct{ Mongo, Redis, AMQP string }

func openAddress(text, _ string) (backend.Backend, error) {
	var a address
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return nil, err
	}
	cfg, err := parseText(a.yaml())
	return servers.From(cfg, servers.StartDegraded()), err
}

func (a address) yaml() string {
	return fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", a.Mongo, a.Redis, a.AMQP)
}

// A stack is three servers. A test can stop those that it owns. The others are shared with other tests, which allows
// only network faults.
type stack struct {
	address
	mongoProxy           *mongoproxy.Proxy
	redisProxy           *testkit.Proxy
	mongo, redis, rabbit *devstack.Server // nil if shared
	broker               *devstack.Server // nil if not started by the tests
	vhost                string
	again                time.Duration
}

// newStack returns a stack on which the test owns the servers in own. With a journal it can be audited.
func newStack(t testing.TB, journal map[string]mongoproxy.Matcher, own ...devstack.Kind) *stack {
	t.Helper()
	s := &stack{again: 15 * time.Second, vhost: "/"}
	started := make([]*devstack.Server, len(own))
	for i, k := range own {
		started[i] = devstack.Start(t, k)
	}
	for _, server := range started {
		switch server.Kind {
		case devstack.MongoDB:
			s.mongo, s.Mongo = server, server.URI+devstack.Name(t)
		case devstack.RedisKV:
			s.redis, s.Redis = server, server.URI
		case devstack.RabbitMQ:
			s.rabbit, s.broker, s.AMQP = server, server, server.URI
		}
	}
	if s.mongo == nil {
		s.Mongo = devstack.Mongo(t)
	}
	if s.redis == nil {
		s.Redis = devstack.Redis(t)
	}
	if s.rabbit == nil {
		s.AMQP = devstack.AMQP(t)
		if u, err := url.Parse(s.AMQP); err == nil && u.Path != "" {
			s.vhost = strings.TrimPrefix(u.Path, "/")
		}
		s.broker, _ = devstack.Up(devstack.RabbitMQ)
	}
	s.mongoProxy = mongoproxy.New(t, s.Mongo, mongoproxy.Config{Purpose: purpose, Journal: journal})
	s.Mongo = s.mongoProxy.URI()
	s.redisProxy, s.Redis = testkit.NewProxyURI(t, s.Redis, testkit.ProxyConfig{})
	return s
}

// Address implements chaos.World.
func (s *stack) Address() string {
	text, err := json.Marshal(s.address)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Again implements chaos.World. Under random faults the hint that would expose a dead process may be lost, and then it
// takes a lease. Without such losses, testKilledWhileRunning measures it.
func (s *stack) Again() time.Duration { return s.again }

// The faults of servers.
const (
	mongoStops    = "mongo stops"
	mongoMute     = "mongo gets no requests"
	mongoDeaf     = "mongo's replies don't arrive"
	mongoSlow     = "mongo is slow"
	mongoForgets  = "mongo's reply is lost"
	redisStops    = "redis stops"
	redisFlush    = "redis is flushed"
	redisMute     = "redis gets no requests"
	redisDeaf     = "redis's replies don't arrive"
	rabbitStops   = "rabbit stops"
	rabbitKilled  = "rabbit is killed"
	rabbitCloses  = "rabbit closes all connections"
	rabbitPurged  = "queues are purged"
	rabbitDeleted = "queues are deleted"
	rabbitFull    = "rabbit is short of memory"
)

// Faults implements chaos.World.
func (s *stack) Faults() []string {
	all := []string{mongoMute, mongoDeaf, mongoSlow, mongoForgets, mongoForgets, redisMute, redisDeaf}
	if s.mongo != nil {
		all = append(all, mongoStops)
	}
	if s.redis != nil {
		all = append(all, redisStops, redisFlush)
	}
	if s.rabbit != nil {
		all = append(all, rabbitStops, rabbitKilled, rabbitCloses, rabbitPurged, rabbitDeleted, rabbitFull)
	}
	return all
}

// Happen implements chaos.World.
func (s *stack) Happen(what string, d time.Duration, calm <-chan struct{}) error {
	wait := func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-calm:
		}
	}
	outage := func(end, start func() error) error {
		if err := end(); err != nil {
			return err
		}
		wait()
		return start()
	}
	broken := func(l *testkit.Link, begin func()) error {
		begin()
		wait()
		l.Restore()
		return nil
	}
	onMongo, onRedis := &s.mongoProxy.Link, &s.redisProxy.Link
	switch what {
	case mongoStops:
		return outage(s.mongo.Stop, s.mongo.Start)
	case mongoMute:
		return broken(onMongo, func() { onMongo.Block(testkit.Requests) })
	case mongoDeaf:
		return broken(onMongo, func() { onMongo.Block(testkit.Replies) })
	case mongoSlow:
		return broken(onMongo, func() { onMongo.Delay(100 * time.Millisecond) })
	case mongoForgets:
		for _, match := range []mongoproxy.Matcher{inserts, claims, settles, expiries, hints} {
			s.mongoProxy.Trap(mongoproxy.After, match, nil)
		}
		return nil
	case redisStops:
		return outage(s.redis.Stop, s.redis.Start)
	case redisFlush:
		o, err := redis.ParseURL(s.redis.URI)
		if err != nil {
			return err
		}
		c := redis.NewClient(o)
		defer c.Close()
		return c.FlushAll(context.Background()).Err()
	case redisMute:
		return broken(onRedis, func() { onRedis.Block(testkit.Requests) })
	case redisDeaf:
		return broken(onRedis, func() { onRedis.Block(testkit.Replies) })
	case rabbitStops:
		return outage(s.rabbit.Stop, s.rabbit.Start)
	case rabbitKilled:
		return outage(s.rabbit.Kill, s.rabbit.Start)
	case rabbitCloses:
		return s.rabbit.Ctl("close_all_connections", "a test")
	case rabbitPurged, rabbitDeleted:
		return s.eachHintQueue(func(path string) error {
			if what == rabbitPurged {
				path += "/contents"
			}
			_, err := s.rabbit.Admin("DELETE", path, nil)
			return err
		})
	case rabbitFull:
		return outage(func() error { return s.rabbit.Ctl("set_vm_memory_high_watermark", "0.0001") },
			func() error { return s.rabbit.Ctl("set_vm_memory_high_watermark", "0.4") })
	}
	return fmt.Errorf("unknown fault %q", what)
}

// eachHintQueue calls do for each hint queue, with its path in the HTTP API. A missing queue is no error.
func (s *stack) eachHintQueue(do func(path string) error) error {
	for _, queue := range []string{"a", "b", "c", "d"} {
		err := do("queues/" + url.PathEscape(s.vhost) + "/af.hint." + s.mongoProxy.Database().Name() + "." + queue)
		if err != nil && !strings.Contains(err.Error(), "404") {
			return err
		}
	}
	return nil
}

// Left implements chaos.World.
func (s *stack) Left(ctx context.Context) (int, error) {
	left := 0
	for _, filter := range []bson.D{
		{{Key: "status", Value: bson.D{{Key: "$in", Value: []string{"waiting", "pending", "running", "retrying"}}}}},
		{{Key: "open_set", Value: true}},
		{{Key: "held", Value: bson.D{{Key: "$gt", Value: ""}}}},
	} {
		n, err := s.mongoProxy.Database().Collection("tasks").CountDocuments(ctx, filter)
		if err != nil {
			return 0, err
		}
		left += int(n)
	}
	return left, nil
}

// Held implements chaos.World. It returns hints that are queued or unacknowledged.
func (s *stack) Held(context.Context) ([]string, error) {
	queues, err := s.queues("messages")
	if err != nil {
		return nil, err
	}
	var held []string
	for name, n := range queues {
		if n != "0" && strings.HasPrefix(name, "af.hint.") {
			held = append(held, fmt.Sprintf("%s messages of %s", n, name))
		}
	}
	return held, nil
}

// queues returns a column of rabbitmqctl list_queues by queue name.
func (s *stack) queues(what string) (map[string]string, error) {
	if s.broker == nil {
		return nil, nil
	}
	text, err := s.broker.Ask("list_queues", "--quiet", "--no-table-headers", "--vhost", s.vhost, "name", what)
	if err != nil {
		return nil, err
	}
	queues := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			queues[name] = value
		}
	}
	return queues, nil
}

// Remains implements chaos.World.
func (s *stack) Remains() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var remains []string
	for what, in := range map[string]struct {
		collection string
		filter     bson.D
	}{
		"tasks that run":           {"tasks", bson.D{{Key: "status", Value: "running"}}},
		"tasks that have an owner": {"tasks", bson.D{{Key: "owner", Value: bson.D{{Key: "$gt", Value: ""}}}}},
		"owners":                   {"owners", bson.D{{Key: "convicted", Value: bson.D{{Key: "$ne", Value: true}}}}},
		"expired owners whose tasks were not freed": {"owners",
			bson.D{{Key: "freed", Value: bson.D{{Key: "$ne", Value: true}}}}},
	} {
		n, err := s.mongoProxy.Database().Collection(in.collection).CountDocuments(ctx, in.filter)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			remains = append(remains, fmt.Sprintf("%d %s", n, what))
		}
	}
	// RabbitMQ deletes exclusive queues shortly after their connection has ended.
	var own []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		queues, err := s.queues("consumers")
		if err != nil {
			return nil, err
		}
		own = nil
		for name, consumers := range queues {
			if strings.HasPrefix(name, "af.ctl.") || consumers != "0" {
				own = append(own, fmt.Sprintf("the queue %s with %s consumers", name, consumers))
			}
		}
		if len(own) == 0 {
			break
		}
	}
	return slices.Concat(remains, own), nil
}
