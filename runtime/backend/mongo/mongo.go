// Package mongo keeps tasks and documents in MongoDB: the Store and the Docs of a program that runs over the three servers.
//
//	c, err := mongo.New(mongo.Config{URI: uri, Database: "afgen"})
//	err = c.Prepare(ctx) // connects, makes the indexes; every operation does it, too, where it has not been done
//	store, docs := c.Store(), c.Docs()
//
// It needs MongoDB 5 or later, alone or as a replica set, and uses only what that has in common with the servers that stand
// in for it: find, insert, update with operators, delete, bulk writes, $match with $group, and unique, compound and
// sparse indexes. No transactions but those of the caller (tx.go), no change streams, no pipelines in updates, no partial or TTL indexes.
//
// # One document is one task
//
// Everything about a task stands in its document (document.go), and every transition is one write that is conditional on
// what the state table demands. A write that many documents share, such as a claim, carries a mark of its own, by which
// what it changed is found afterwards (transit.go): that is exact also where the reply was lost, or others did the same at
// once. What follows from a transition is a write to another document and may be interrupted; it is repeated by whoever
// finds it undone (Unfinished, ExpireOwner, Finish), and each step is harmless when repeated.
//
// Fields that a query looks for are there only while they matter: key while the task lives, owner while it runs, live
// while it is a subtask that has not ended. So unique and sparse indexes stay small (indexes.go), and a transition that
// knows nothing of a task but its id can still take it out of them.
//
// All writes wait for the journals of a majority. For a claim that is no luxury: one that a failover undid would leave its
// fence to the next claimer, and two owners would settle under one number.
//
// # Subtasks
//
// A source counts the batches it has committed (spawn_rev). Subtasks are inserted held, which makes them invisible; then
// one conditional write on the source raises spawn_rev and notes the batch as opening; then they are made live, and the
// note is removed. Who finishes a set reads spawn_rev, completes what is opening, looks for a live subtask, and writes on
// the condition that spawn_rev is what it was. So a set that is finished has no live subtask, whoever was interrupted
// where (subtasks.go, finish.go).
//
// # Time
//
// What is due is decided by the server's clock. A client asks for it every ten seconds and lets its own monotonic clock
// run between (clock.go); no wall clock but the server's is compared with anything. Two clients agree within the time of a
// round trip and a millisecond, which is how inexact the order by age may be.
package mongo

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
)

// A Config says which server, and how to reach it.
type Config struct {
	URI      string // mongodb:// or mongodb+srv://, with user and password where the server wants them
	Address  string // of the server, for messages; without secrets
	Database string
	AppName  string // by which the server's log knows this program

	TLS            *tls.Config   // nil leaves it to the URI
	MaxPool        int           // connections at once; 0 leaves it to the URI
	ConnectTimeout time.Duration // 0 leaves it to the URI, and is 5 s where that has none
	// Patience is how long an operation waits for a server that is not there; 0 is 3 s.
	Patience time.Duration

	Logger  *slog.Logger          // nil is none
	Monitor *event.CommandMonitor // sees each command, for tests
}

// A Client is a connection to one database. It is safe for concurrent use.
type Client struct {
	config Config
	client *driver.Client
	db     *driver.Database
	tasks  collection
	owners collection
	papers collection // the documents of Docs

	clock clock
	conn  *connstate.State
	looks looks // the driver's, at its servers

	purged atomic.Pointer[purgePlace] // where the last purge was cut short

	transacts atomic.Bool // the server is known to have transactions

	preparing chan struct{} // has an element while somebody does
	alive     context.Context
	end       context.CancelFunc // of alive
	done      sync.WaitGroup

	mu       sync.Mutex
	watched  bool
	prepared bool
	closed   bool
	refused  time.Time // when preparing failed last, and how
	refusal  error
}

const defaultPatience = 3 * time.Second

// defaultConnectTimeout is how long a connection may take to be made. The driver's own 30 s are too long: it makes two at a time,
// so that after a network cut everything waits for those that were begun while it lasted.
const defaultConnectTimeout = 5 * time.Second

// New checks a Config. It doesn't connect: Prepare does, or the first operation.
func New(c Config) (*Client, error) {
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Database == "" {
		return nil, refusal("mongodb: no name of a database")
	}
	o := options.Client().ApplyURI(c.URI)
	if err := o.Validate(); err != nil {
		// Not wrapped: it may quote the URI, and so a password.
		return nil, refusal("mongodb: the URI for %s is not valid: it must be mongodb://user:password@host:port/?options, what is special "+
			"in user and password written as %%XX", c.Address)
	}
	journal := true
	o.SetServerSelectionTimeout(c.Patience).SetReadConcern(readconcern.Local()).SetReadPreference(readpref.Primary()).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal}).
		SetAppName(c.AppName).SetMonitor(c.Monitor)
	if c.TLS != nil {
		o.SetTLSConfig(c.TLS)
	}
	if c.MaxPool > 0 {
		o.SetMaxPoolSize(uint64(c.MaxPool))
	}
	if c.ConnectTimeout > 0 {
		o.SetConnectTimeout(c.ConnectTimeout)
	} else if o.ConnectTimeout == nil {
		o.SetConnectTimeout(defaultConnectTimeout)
	}
	client := &Client{config: c, clock: clock{since: time.Since}, conn: connstate.New(), preparing: make(chan struct{}, 1)}
	o.SetServerMonitor(client.looksMonitor())
	var err error
	if client.client, err = driver.Connect(o); err != nil {
		return nil, refusal("mongodb: %s can't be used with these options", c.Address)
	}
	client.db = client.client.Database(c.Database)
	client.tasks, client.owners = collection{client.db.Collection("tasks")}, collection{client.db.Collection("owners")}
	client.papers = collection{client.db.Collection("docs")}
	client.alive, client.end = context.WithCancel(context.Background())
	return client, nil
}

// Store returns the tasks.
func (c *Client) Store() backend.Store { return &store{c} }

// Docs returns the documents.
func (c *Client) Docs() backend.Docs { return &docs{c} }

// Mongo returns the database, for what a program keeps there besides.
func (c *Client) Mongo() *driver.Database { return c.db }

// Ping returns nil if the server can be reached, lets us in, and takes writes. A connection to a single member of a replica set
// is answered by any, also by one that is not the primary.
func (c *Client) Ping(ctx context.Context) error {
	var hello struct {
		Writable    *bool `bson:"isWritablePrimary"`
		Uninitiated bool  `bson:"isreplicaset"` // it waits for replSetInitiate
	}
	err := c.db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	if err == nil && hello.Writable != nil && !*hello.Writable {
		err = errNotPrimary
		if hello.Uninitiated {
			err = errUninitiated
		}
	}
	return c.failed(ctx, err, backend.OutcomeNotSent)
}

// Prepare connects, reads the server's clock, checks what the user may do (permission.go) and makes what indexes are
// missing. Once it has returned nil it does nothing.
func (c *Client) Prepare(ctx context.Context) error {
	ctx = outside(ctx)
	select {
	case c.preparing <- struct{}{}:
		defer func() { <-c.preparing }()
	case <-ctx.Done():
		return notBegun(ctx)
	}
	c.mu.Lock()
	prepared, closed, refused, lately := c.prepared, c.closed, c.refusal, time.Since(c.refused) < refusedFor
	c.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case prepared:
		return nil
	case lately:
		return refused // all who have waited for the same attempt fail with it
	}
	c.beginWatch()
	err := c.Ping(ctx)
	if err == nil {
		err = c.clock.measure(ctx, c.db)
	}
	if err == nil {
		err = c.checkPermissions(ctx)
	}
	if err == nil {
		err = c.makeIndexes(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		err = c.failed(ctx, err, backend.OutcomeNotSent)
		if ctx.Err() == nil {
			c.refused, c.refusal = time.Now(), err
			c.conn.SetDown(err)
		}
		return err
	case c.closed:
		return errClosed
	}
	c.prepared = true
	c.done.Go(c.keepTime)
	return nil
}

// refusedFor is how long a server that could not be reached isn't asked again.
const refusedFor = 250 * time.Millisecond

var errClosed = backend.NewError(backend.ErrUnavailable, "the connection to MongoDB was closed").With(backend.OutcomeNotSent)

// begin is how every operation begins: its context ends when the server goes and has no session, and done, which is never
// nil, ends it.
func (c *Client) begin(ctx context.Context) (_ context.Context, done context.CancelFunc, err error) {
	ctx = outside(ctx)
	if ctx.Err() != nil {
		return ctx, func() {}, notBegun(ctx)
	}
	c.mu.Lock()
	prepared, closed := c.prepared, c.closed
	c.mu.Unlock()
	switch _, away := c.conn.Get(); {
	case closed:
		return ctx, func() {}, errClosed
	case away != nil:
		return ctx, func() {}, away
	case !prepared:
		if err := c.Prepare(ctx); err != nil {
			return ctx, func() {}, err
		}
	}
	ctx, done, err = c.conn.Guard(ctx)
	return &operation{Context: ctx}, done, err
}

func notBegun(ctx context.Context) error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
}

// Close closes all connections. Operations in flight fail.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.end()
	c.mu.Unlock()
	c.done.Wait()
	c.conn.SetDown(errClosed)
	return c.failed(ctx, c.client.Disconnect(ctx), backend.OutcomeNotSent)
}

// A store is backend.Store.
type store struct{ *Client }

// A docs is backend.Docs.
type docs struct{ *Client }

func refusal(format string, args ...any) error {
	return backend.Errorf(backend.ErrInvalidArgument, format, args...).With(backend.OutcomeNotSent)
}
