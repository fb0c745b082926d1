package bench

import (
	"context"
	"errors"
	"maps"
	"sync"

	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/config"
)

// mongoCommands counts the commands that Apps send to MongoDB for their tasks: those sent by a counted call on the
// Store, and other writes. It omits heartbeats and writes of small documents. It is safe for concurrent use.
type mongoCommands struct {
	mu     sync.Mutex
	counts counts // by op of the Store, if known, command and collection
}

// since returns the commands sent after a snapshot. A nil receiver has none.
func (c *mongoCommands) since(before counts) counts { return c.snapshot().since(before) }

// snapshot returns the current counts. A nil receiver has none.
func (c *mongoCommands) snapshot() counts {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// started counts one command.
func (c *mongoCommands) started(ctx context.Context, e *event.CommandStartedEvent) {
	field := e.CommandName
	if field == "getMore" {
		field = "collection"
	}
	collection, ok := e.Command.Lookup(field).StringValueOK()
	if !ok {
		return // it serves the connection, such as hello
	}
	name := e.CommandName + " " + collection
	if o, ok := ctx.Value(purpose{}).(op); ok {
		name = opNames[o] + "/" + name
	} else if !backgroundWrites[e.CommandName] || collection == "owners" || collection == "docs" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[name]++
}

// backgroundWrites are the commands that count even if no call on the Store waits for them.
var backgroundWrites = map[string]bool{
	"insert": true, "update": true, "delete": true, "findAndModify": true, "bulkWrite": true,
}

// countedMongo is a backend on the servers whose MongoDB client reports its commands. Package servers has no option
// for that, so the client replaces the one that servers has opened, with the same configuration.
type countedMongo struct {
	backend.Backend
	config   *config.MongoDB
	commands *mongoCommands
}

// Open implements [backend.Backend].
func (b countedMongo) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	client, err := mongo.New(mongo.Config{
		URI: b.config.URI.Reveal(), Address: "MongoDB", Database: b.config.DB, AppName: "afgen " + env.Instance.ID,
		MaxPool: b.config.MaxPool, ConnectTimeout: b.config.ConnectTimeout, Logger: env.Logger,
		Monitor: &event.CommandMonitor{Started: b.commands.started},
	})
	if err != nil {
		return nil, err
	}
	if err := client.Prepare(ctx); err != nil {
		return nil, errors.Join(err, client.Close(context.WithoutCancel(ctx)))
	}
	ports, err := b.Backend.Open(ctx, env)
	if err != nil {
		return nil, errors.Join(err, client.Close(context.WithoutCancel(ctx)))
	}
	out := *ports
	out.Store, out.Docs = client.Store(), client.Docs()
	out.Close = func(ctx context.Context) error { return errors.Join(client.Close(ctx), ports.Close(ctx)) }
	return &out, nil
}
