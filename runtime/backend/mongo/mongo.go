// Package mongo implements the ports [backend.Store] and [backend.Docs] on MongoDB.
//
//	c, err := mongo.New(mongo.Config{URI: uri, Database: "afgen"})
//	err = c.Prepare(ctx) // connects and creates indexes; optional, since the first operation does it too
//	store, docs := c.Store(), c.Docs()
//
// It needs MongoDB 5 or later, standalone or as a replica set. It uses only commands that compatible servers share:
// find, insert, update with operators, delete, bulk writes, $match with $group, and unique, compound, sparse and partial
// indexes. It uses no transactions except those of the caller (tx.go), no change streams, no update pipelines, and no TTL
// indexes.
//
// # One document per task
//
// All state of a task is in its document (document.go), and each transition is one conditional write that checks the
// state table's precondition. A write to many documents, such as a claim, carries a unique mark with which its
// documents are read back (transition.go). That is exact even if the reply was lost or other processes do the same
// concurrently. A transition may require a second write to another document, and the process may die in between.
// Unfinished, ExpireOwner and Finish repeat such writes, which are idempotent.
//
// Fields that queries use exist only while they matter: key while the task is not final, owner while it runs, live
// while a subtask is not final. So unique and sparse indexes stay small (indexes.go), and a transition that knows only
// a task's ID can still remove it from them.
//
// All writes wait for the journals of a majority. Claims need that: if a failover undid a claim, the next one would get
// the same fence, and two owners could settle with it.
//
// # Concurrent inserts
//
// Small inserts that meet in a process share a command (group.go). A call that finds a free slot sends its own tasks
// at once, with its own context. Calls that arrive while both slots are taken form the next command, which has a
// context of its own: with the values of the call if there is only one, and else with none, so that a monitor attributes
// a shared command to no caller. Each call resolves conflicts with existing tasks by itself.
//
// # Subtasks
//
// A source counts its committed batches in spawn_rev. Subtasks are inserted as held, which makes them invisible. Then
// one conditional write on the source increments spawn_rev and adds the batch to opening. Then the subtasks become
// live, and the batch is removed from opening. To finish a set, a process reads spawn_rev, completes the batches in
// opening, checks that no subtask is live, and writes on condition that spawn_rev is unchanged. So a finished set never
// has a live subtask, wherever a process was interrupted (subtasks.go, finish.go).
//
// Several processes may finish a set. The task for SubtasksDone is inserted as held, too, and released if the set is
// still incomplete after that. So a process that comes late, when the tree may have been deleted, inserts nothing that
// runs.
//
// # Time
//
// Due times are compared with the server's clock. A client reads it every ten seconds and advances it with its own
// monotonic clock (clock.go). No other wall clock is used. Two clients agree to within a round trip and a millisecond,
// so the order of tasks by age is only that exact.
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
	"github.com/afgen/afgen/runtime/backend/internal/surplus"
)

// A Config configures the connection to a server.
type Config struct {
	URI      string // mongodb:// or mongodb+srv://, with credentials if the server requires them
	Address  string // of the server, for messages; contains no secrets
	Database string
	AppName  string // identifies this program in the server's log

	TLS            *tls.Config   // nil: from the URI
	MaxPool        int           // maximum number of connections; 0: from the URI
	ConnectTimeout time.Duration // 0: from the URI, or 5 s
	// Patience is how long an operation waits for an unreachable server; 0 means 3 s.
	Patience time.Duration

	// Observer opens the database without writing: missing indexes are not created, so that lists need a database that a
	// program of this version has used. The user needs no permission but to find; a write that is refused returns
	// ErrPermissionDenied.
	Observer bool

	Logger *slog.Logger // nil discards messages
	// Monitor receives all commands, with the contexts of the operations that send them: the values of the caller's
	// context, except for what is sent in the background or for several callers. PoolMonitor receives what happens to
	// connections. They are called on the goroutines of operations, and must not block. nil means none.
	Monitor     *event.CommandMonitor
	PoolMonitor *event.PoolMonitor

	slowGroup time.Duration // 0 means slowGroup; set by tests
}

// A Client is a connection to one database. It is safe for concurrent use.
type Client struct {
	config  Config
	client  *driver.Client
	db      *driver.Database
	tasks   collection
	owners  collection
	docs    collection // the documents of Docs
	inserts *insertGroup

	clock      clock
	conn       *connstate.State
	driverView driverView // what the driver knows about its servers

	purgePos atomic.Pointer[purgePosition] // where the last purge stopped
	ended    surplus.Counts                // of sources, for Purge
	beyond   beyond

	hasTransactions atomic.Bool // the server supports transactions

	prepareSem chan struct{} // held while preparing
	ctx        context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup

	mu            sync.Mutex
	probing       bool
	prepared      bool
	closed        bool
	prepareFailed time.Time // when preparing last failed
	prepareErr    error
}

// All writes are acknowledged by the journals of a majority.
var (
	yes     = true
	durable = &writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &yes}
	// durableOption is durable as an option of a command.
	durableOption = d{{Key: "w", Value: writeconcern.WCMajority}, {Key: "j", Value: yes}}
)

const defaultPatience = 3 * time.Second

// defaultConnectTimeout bounds the opening of one connection. The driver's default of 30 s is too long: it opens two at
// a time, so after a network cut all operations would wait for connections that were started during the cut.
const defaultConnectTimeout = 5 * time.Second

// defaultConnIdleTime is after how long an unused connection is closed. The driver keeps all that a burst needed.
const defaultConnIdleTime = time.Minute

// New returns a Client for a valid Config. It doesn't connect: Prepare or the first operation does.
func New(c Config) (*Client, error) {
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.slowGroup == 0 {
		c.slowGroup = slowGroup
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Database == "" {
		return nil, invalidConfig("mongodb: the database name is empty")
	}
	o := options.Client().ApplyURI(c.URI)
	if err := o.Validate(); err != nil {
		// Not wrapped, since it may quote the URI, which may contain a password.
		return nil, invalidConfig("mongodb: invalid URI for %s: it must be mongodb://user:password@host:port/?options, "+
			"with special characters in user and password percent-encoded", c.Address)
	}
	if err := checkURI(o); err != nil {
		return nil, err
	}
	o.SetServerSelectionTimeout(c.Patience).SetReadConcern(readconcern.Local()).SetReadPreference(readpref.Primary()).
		SetWriteConcern(durable).
		SetAppName(c.AppName).SetMonitor(c.Monitor).SetPoolMonitor(c.PoolMonitor)
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
	if o.MaxConnIdleTime == nil {
		o.SetMaxConnIdleTime(defaultConnIdleTime)
	}
	client := &Client{config: c, clock: clock{since: time.Since}, conn: connstate.New(),
		prepareSem: make(chan struct{}, 1)}
	o.SetServerMonitor(client.serverMonitor())
	var err error
	if client.client, err = driver.Connect(o); err != nil {
		return nil, invalidConfig("mongodb: invalid options for %s", c.Address)
	}
	client.db = client.client.Database(c.Database)
	client.tasks, client.owners = collection{client.db.Collection("tasks")}, collection{client.db.Collection("owners")}
	client.docs = collection{client.db.Collection("docs")}
	client.inserts = newInsertGroup(client)
	client.ctx, client.cancel = context.WithCancel(context.Background())
	return client, nil
}

// Store returns the port for tasks.
func (c *Client) Store() backend.Store { return &store{c} }

// Docs returns the port for documents.
func (c *Client) Docs() backend.Docs { return &docs{c} }

// Mongo returns the driver's database, for a program's own collections.
func (c *Client) Mongo() *driver.Database { return c.db }

// Ping returns nil if the server is reachable, accepts the credentials, and accepts writes. A direct connection to one
// member of a replica set also reaches members that aren't the primary.
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
	return c.wrapError(ctx, err, backend.OutcomeNotSent)
}

// Prepare connects, reads the server's clock, checks permissions (permission.go) and creates missing indexes. After it
// has succeeded once, it does nothing.
func (c *Client) Prepare(ctx context.Context) error {
	ctx = withoutSession(ctx)
	select {
	case c.prepareSem <- struct{}{}:
		defer func() { <-c.prepareSem }()
	case <-ctx.Done():
		return notStarted(ctx)
	}
	c.mu.Lock()
	prepared, closed, prepareErr := c.prepared, c.closed, c.prepareErr
	failedRecently := time.Since(c.prepareFailed) < prepareRetryDelay
	c.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case prepared:
		return nil
	case failedRecently:
		return prepareErr // callers that waited for the same attempt fail with it
	}
	c.startProbing()
	err := c.Ping(ctx)
	if err == nil {
		err = c.clock.measure(ctx, c.db)
	}
	if err == nil {
		err = c.checkPermissions(ctx)
	}
	if err == nil && !c.config.Observer {
		err = c.createIndexes(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		err = c.wrapError(ctx, err, backend.OutcomeNotSent)
		if ctx.Err() == nil {
			c.prepareFailed, c.prepareErr = time.Now(), err
			c.conn.SetDown(err)
		}
		return err
	case c.closed:
		return errClosed
	}
	c.prepared = true
	c.wg.Go(c.measureLoop)
	return nil
}

// prepareRetryDelay is how long calls fail with the previous error after preparing has failed.
const prepareRetryDelay = 250 * time.Millisecond

var errClosed = backend.NewError(backend.ErrUnavailable, "the connection to MongoDB was closed").
	With(backend.OutcomeNotSent)

// begin starts an operation. It removes a session from ctx, and returns a context that also ends when the server goes
// down. The caller calls done, which is never nil, when the operation ends.
func (c *Client) begin(ctx context.Context) (_ context.Context, done context.CancelFunc, err error) {
	ctx = withoutSession(ctx)
	if ctx.Err() != nil {
		return ctx, func() {}, notStarted(ctx)
	}
	c.mu.Lock()
	prepared, closed := c.prepared, c.closed
	c.mu.Unlock()
	switch _, down := c.conn.Get(); {
	case closed:
		return ctx, func() {}, errClosed
	case down != nil:
		return ctx, func() {}, down
	case !prepared:
		if err := c.Prepare(ctx); err != nil {
			return ctx, func() {}, err
		}
	}
	ctx, done, err = c.conn.Guard(ctx)
	return &operation{Context: ctx}, done, err
}

func notStarted(ctx context.Context) error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
}

// Close closes all connections. Operations in flight fail. It may be called more than once.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.cancel()
	c.mu.Unlock()
	c.wg.Wait()
	c.conn.SetDown(errClosed)
	c.inserts.Close()
	return c.wrapError(ctx, c.client.Disconnect(ctx), backend.OutcomeNotSent)
}

// A store implements backend.Store.
type store struct{ *Client }

// A docs implements backend.Docs.
type docs struct{ *Client }

func invalidConfig(format string, args ...any) error {
	return backend.Errorf(backend.ErrInvalidArgument, format, args...).With(backend.OutcomeNotSent)
}
