// Package devstack brings up the servers that tests need: RabbitMQ, Redis, and a stand-in for MongoDB. They listen on
// loopback ports that nobody else has, and keep what they have in folders of their own: no server of the machine is ever
// touched, and several checkouts live side by side.
//
//	uri := devstack.Mongo(t) // a database of its own, dropped when the test ends
//	uri := devstack.AMQP(t)  // a virtual host of its own, deleted when the test ends
//	uri := devstack.Redis(t) // one for all tests: begin keys and channels with devstack.Name(t)
//
// # Shared servers
//
// The first test of a checkout that asks for a server starts it, and all other tests, also of other packages and
// processes, use the same one (shared.go): a lock file and a state file in a folder under os.TempDir keep them in step.
// The servers stay up until `make stack-down`; .ci/test, too, stops at its end what its tests have started. With
// AF_TEST_MONGO, AF_TEST_REDIS or AF_TEST_AMQP set to a URI that server is used instead, and nothing is started.
//
// # Servers of a test's own
//
// [Start] brings up one that only this test uses, to be killed, stopped and started again by [Server]'s methods.
//
// # Where there is none
//
// Where a Docker engine with compose runs, the servers are containers (docker.go, compose.yaml): rabbitmq:4, redis:7 and
// mongo:8. Elsewhere RabbitMQ and Redis are what the machine has installed (Debian: rabbitmq-server, redis-server). For MongoDB
// there is no such package, so SecantusDB stands in, a server in Python that speaks MongoDB's protocol over MongoDB's storage engine;
// it is installed with pip into a virtual environment in the user's cache folder (mongo.go). A test that can't have its
// server is skipped, and says why; .ci/test makes that a failure where AF_TEST_REQUIRE=1.
//
// The probe that chose the stand-in is a test, TestMongoIsFitForAStore, which a real server passes as well. What a
// stand-in can't prove: how fast MongoDB is, that its planner takes the indexes meant for a query, what replica sets do
// when their primary goes, and that a write acknowledged with j:true outlives a power failure.
package devstack

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A Kind is a kind of server.
type Kind string

// The three kinds.
const (
	RabbitMQ Kind = "rabbitmq"
	RedisKV  Kind = "redis"
	MongoDB  Kind = "mongodb"
)

// Kinds returns the three.
func Kinds() []Kind { return []Kind{RabbitMQ, RedisKV, MongoDB} }

// Variable is the environment variable that names a server to be used instead.
func (k Kind) Variable() string {
	return map[Kind]string{RabbitMQ: "AF_TEST_AMQP", RedisKV: "AF_TEST_REDIS", MongoDB: "AF_TEST_MONGO"}[k]
}

// Mongo returns the URI of a database that only this test uses.
func Mongo(t testing.TB) string {
	t.Helper()
	uri, _ := need(t, MongoDB)
	uri = withDatabase(uri, Name(t))
	t.Cleanup(func() { dropDatabase(uri) })
	return uri
}

// Redis returns the URI of a server that other tests use at the same time: begin the names of keys and channels with
// [Name].
func Redis(t testing.TB) string {
	t.Helper()
	uri, _ := need(t, RedisKV)
	return uri
}

// AMQP returns the URI of a virtual host that only this test uses. Of a server that AF_TEST_AMQP names it is what that
// names: begin the names of queues with [Name] all the same.
func AMQP(t testing.TB) string {
	t.Helper()
	uri, s := need(t, RabbitMQ)
	if s == nil {
		return uri
	}
	uri, drop, err := s.newVHost(Name(t))
	if err != nil {
		t.Fatalf("devstack: a virtual host: %v", err)
	}
	t.Cleanup(drop)
	return uri
}

var (
	named atomic.Int64
	odd   = regexp.MustCompile(`[^a-z0-9]+`)
	begun = time.Now()
)

// Name returns a name that no other call has got, of small letters, digits and underscores, with the test's name in it.
func Name(t testing.TB) string {
	name := odd.ReplaceAllString(strings.ToLower(t.Name()), "_")
	return fmt.Sprintf("t%x_%x_%x_%.20s", begun.UnixMilli()&0xffffffff, os.Getpid(), named.Add(1), name)
}

// need returns the URI of a server, and the server itself where it is one of ours.
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

// Start brings up a server for this test alone and stops it when the test ends.
func Start(t testing.TB, k Kind) *Server {
	t.Helper()
	s := Prepare(t, k)
	if err := s.Start(); err != nil {
		unavailable(t, k, err)
	}
	return s
}

// Prepare is Start for a server that is away at first: its URI is known, and its Start starts it.
func Prepare(t testing.TB, k Kind) *Server {
	t.Helper()
	return prepare(t, k, hasDocker())
}

// Configure is Prepare for a server that the test configures, by files in its Dir and by Args: it is never a container, and
// must be installed also where Docker runs.
func Configure(t testing.TB, k Kind) *Server {
	t.Helper()
	return prepare(t, k, false)
}

func prepare(t testing.TB, k Kind, contained bool) *Server {
	t.Helper()
	s := &Server{Kind: k, Dir: t.TempDir()}
	if err := s.prepare(contained); err != nil {
		unavailable(t, k, err)
	}
	if s.Project == "" {
		if _, err := s.command(); err != nil { // not installed
			unavailable(t, k, err)
		}
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Stop(), s.discard()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func unavailable(t testing.TB, k Kind, err error) {
	t.Helper()
	t.Skipf("NOT TESTED: no %s: %v. Set %s to the URI of a server that tests may use, or install what is missing", k, err, k.Variable())
}
