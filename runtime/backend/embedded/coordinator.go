package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend/embedded/internal/mesh"
	"github.com/afgen/afgen/runtime/backend/internal/events"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// presentFor is how long an announcement lasts.
const presentFor = 15 * time.Second

// kindEvent is the kind of notices that carry events.
const kindEvent = "news"

// A coordinator implements backend.Coordinator. Announcements are rows of the file, events travel over the mesh.
type coordinator struct {
	db       *database
	mesh     *mesh.Mesh
	peers    *registry
	topics   events.Topics
	observer bool
}

// Announce implements backend.Coordinator.
func (c *coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	if c.observer {
		return errObserver("is not announced")
	}
	return change(ctx, c.db.writer, func(tx *tx) error {
		if err := tx.exec("DELETE FROM present WHERE until <= ?", tx.now); err != nil {
			return err
		}
		return tx.exec("INSERT OR REPLACE INTO present (kind, name, facts, until) VALUES (?, ?, ?, ?)",
			kind, name, []byte(facts), tx.now+int64(presentFor))
	})
}

// Present implements backend.Coordinator.
func (c *coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	type announced struct {
		name  string
		facts json.RawMessage
	}
	found, err := readAll(ctx, c.db, func(rows *sql.Rows) (a announced, err error) {
		err = rows.Scan(&a.name, (*[]byte)(&a.facts))
		return a, err
	}, "SELECT name, facts FROM present WHERE kind = ? AND until > ?", kind, instant.Of(c.db.now()))
	if err != nil {
		return nil, err
	}
	present := make(map[string]json.RawMessage, len(found))
	for _, a := range found {
		present[a.name] = a.facts
	}
	return present, nil
}

// Publish implements backend.Coordinator.
func (c *coordinator) Publish(ctx context.Context, topic string, event json.RawMessage) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	c.topics.Publish(topic, event)
	c.peers.join(ctx)
	c.mesh.Notify(c.mesh.Connected(), mesh.Notice{Kind: kindEvent, Name: topic, Body: event})
	return nil
}

// Subscribe implements backend.Coordinator.
func (c *coordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	if c.observer { // the gap of each new connection reaches the subscriber
		var joining sync.WaitGroup
		joining.Go(func() { c.peers.join(ctx) })
		defer joining.Wait()
	}
	return c.topics.Subscribe(ctx, topic, fn)
}
