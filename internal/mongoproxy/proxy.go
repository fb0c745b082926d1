// Package mongoproxy is a proxy between clients of MongoDB and one server, for tests. It parses the clients' commands
// and
//
//   - sets traps ([Proxy.Trap]): a test acts when a certain command arrives, before or after it takes effect, and the
//     client
//
// gets no reply
//   - breaks the network ([testkit.Link]): requests or replies are delayed or held back
//   - counts commands and their time ([Proxy.Spent])
//   - keeps a journal ([Proxy.Changes]): the documents that each command changed, before and after. MongoDB has no
//     triggers,
//
// and its oplog does not name the client
//
// It supports the messages of current drivers: OP_MSG, and the OP_QUERY that begins a connection, see
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/. It expects one reply to each message, so its
// URI turns off streamed monitoring.
package mongoproxy

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/testkit"
)

// A Config configures a proxy.
type Config struct {
	// Purpose returns the name under which a command is counted. The default is [Command.Purpose].
	Purpose func(*Command) string
	// Journal selects, by collection, the commands whose changes are recorded. Other commands must not change fields
	// that the test checks. Commands of one journal run one after the other.
	Journal map[string]Matcher
}

// A Proxy is a proxy in front of one server. Its methods are safe for concurrent use.
type Proxy struct {
	testkit.Link

	direct  *mongo.Client
	server  string
	uri     string
	purpose func(*Command) string
	journal *journal

	mu    sync.Mutex
	traps []*Trap
	spent map[string]Spent
}

// Spent is how many commands of a purpose were sent, and how long the server and the journal took.
type Spent struct {
	Commands int
	Took     time.Duration
}

// New starts a proxy in front of the server of a URI. It ends with the test. It skips the test unless the URI names
// one server and has no password.
func New(t testing.TB, uri string, config Config) *Proxy {
	t.Helper()
	base, query, _ := strings.Cut(uri, "?")
	host, database, _ := strings.Cut(strings.TrimPrefix(base, "mongodb://"), "/")
	if strings.ContainsAny(host, ",@") {
		t.Skip("NOT TESTED: the proxy needs a single MongoDB without a password")
	}
	direct, err := mongo.Connect(options.Client().ApplyURI(uri).SetDirect(true).SetServerSelectionTimeout(2 * time.Second).
		SetHeartbeatInterval(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = direct.Disconnect(context.Background()) }) // nothing of it is in use
	p := &Proxy{direct: direct, server: host, purpose: config.Purpose, spent: map[string]Spent{}}
	if p.purpose == nil {
		p.purpose = (*Command).Purpose
	}
	if config.Journal != nil {
		p.journal = newJournal(direct.Database(database), config.Journal)
	}
	proxy := testkit.NewProxy(t, host, testkit.ProxyConfig{Carry: p.carry})
	t.Cleanup(p.Restore) // before the proxy waits for its connections
	// The driver retries writes to a replica set; here the caller must see a lost reply.
	query = strings.TrimPrefix(query+"&directConnection=true&serverMonitoringMode=poll&retryWrites=false&retryReads=false",
		"&")
	p.uri = "mongodb://" + proxy.Addr + "/" + database + "?" + query
	return p
}

// URI returns the URI through the proxy, with the database and the options of the URI passed to New.
func (p *Proxy) URI() string { return p.uri }

// Server returns the server's host and port.
func (p *Proxy) Server() string { return p.server }

// Database returns the database of the URI passed to New, without the proxy.
func (p *Proxy) Database() *mongo.Database {
	_, rest, _ := strings.Cut(strings.TrimPrefix(p.uri, "mongodb://"), "/")
	name, _, _ := strings.Cut(rest, "?")
	return p.direct.Database(name)
}

// carry forwards commands and replies one at a time, like drivers do.
func (p *Proxy) carry(client, server net.Conn) {
	application := ""
	for {
		c, err := readCommand(client)
		if err != nil {
			return
		}
		if name := c.application(); name != "" {
			application = name
		}
		c.Application = application
		if p.spring(c, Before) {
			return
		}
		p.Pass(testkit.Requests)
		begun := time.Now()
		reply, err := p.run(c, server)
		if err != nil {
			return
		}
		p.count(c, time.Since(begun))
		if p.spring(c, After) {
			return
		}
		p.Pass(testkit.Replies)
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// run sends a command to the server and returns its reply.
func (p *Proxy) run(c *Command, server net.Conn) ([]byte, error) {
	send := func() ([]byte, error) {
		if _, err := server.Write(c.raw); err != nil {
			return nil, err
		}
		return readMessage(server)
	}
	if p.journal == nil {
		return send()
	}
	return p.journal.record(c, send)
}

func (p *Proxy) count(c *Command, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	purpose := p.purpose(c)
	s := p.spent[purpose]
	s.Commands++
	s.Took += took
	p.spent[purpose] = s
}

// Spent returns what was sent to the server since the last call, by purpose.
func (p *Proxy) Spent() map[string]Spent {
	p.mu.Lock()
	defer p.mu.Unlock()
	spent := p.spent
	p.spent = map[string]Spent{}
	return spent
}

// Changes returns the changes of the recorded commands until now, in order. It includes commands whose replies were
// lost, and those of processes that have exited. The Config must have a Journal.
func (p *Proxy) Changes() ([]Change, error) { return p.journal.all() }

// A Moment is when a trap acts.
type Moment int

const (
	Before Moment = iota // the command has no effect
	After                // the command has taken effect, but the client gets no reply
)

// A Trap acts on the first matching command. Then the command's connection is closed.
type Trap struct {
	match  Matcher
	when   Moment
	do     func(*Command)
	sprung chan struct{}
}

// Trap sets a trap. It calls do, if not nil, before the connection is closed.
func (p *Proxy) Trap(when Moment, match Matcher, do func(*Command)) *Trap {
	tr := &Trap{match, when, do, make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, tr)
	return tr
}

// spring springs the trap for a command, and reports whether there was one.
func (p *Proxy) spring(c *Command, when Moment) bool {
	p.mu.Lock()
	i := slices.IndexFunc(p.traps, func(tr *Trap) bool { return tr.when == when && tr.match(c) })
	if i < 0 {
		p.mu.Unlock()
		return false
	}
	tr := p.traps[i]
	p.traps = slices.Delete(p.traps, i, i+1)
	p.mu.Unlock()
	if tr.do != nil {
		tr.do(c)
	}
	close(tr.sprung)
	return true
}

// Sprung returns a channel that is closed when the trap has acted.
func (tr *Trap) Sprung() <-chan struct{} { return tr.sprung }

// Await waits until the trap has acted.
func (tr *Trap) Await(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case <-tr.sprung:
	case <-time.After(within):
		t.Fatalf("the trap has not sprung within %v", within)
	}
}
