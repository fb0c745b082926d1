package redis

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// hearAgain is the pause before the connection of the subscriptions is made again.
const hearAgain = 200 * time.Millisecond

func (c *Coordinator) channel(topic string) string { return c.prefix + "news:" + topic }

// Subscribe implements backend.Coordinator. It doesn't fail where the server is away: news come once that is back.
func (c *Coordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	c.join(ctx, topic)
	defer c.leave(topic)
	return c.topics.Subscribe(ctx, topic, fn)
}

// join listens to a topic's channel, unless somebody does.
func (c *Coordinator) join(ctx context.Context, topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribed[topic]++; c.subscribed[topic] > 1 {
		return
	}
	if err := c.pubsub.Subscribe(ctx, c.channel(topic)); err != nil {
		c.log.Debug("not subscribed yet", "topic", topic, "error", err) // the driver does it when it connects again
	}
}

func (c *Coordinator) leave(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribed[topic]--; c.subscribed[topic] > 0 {
		return
	}
	delete(c.subscribed, topic)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.pubsub.Unsubscribe(ctx, c.channel(topic)); err != nil {
		c.log.Debug("still subscribed", "topic", topic, "error", err)
	}
}

// hear spreads what comes until ctx ends. That a channel was subscribed to, at first or again, is a gap: what was said
// before, nobody here has heard.
func (c *Coordinator) hear(ctx context.Context) {
	for ctx.Err() == nil {
		came, err := c.pubsub.Receive(ctx)
		switch m := came.(type) {
		case *redis.Message:
			if topic, ok := strings.CutPrefix(m.Channel, c.prefix+"news:"); ok {
				c.topics.Publish(topic, json.RawMessage(m.Payload))
			}
		case *redis.Subscription:
			if topic, ok := strings.CutPrefix(m.Channel, c.prefix+"news:"); ok && m.Kind == "subscribe" {
				c.topics.Publish(topic, nil)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.doubt()
			c.pause(ctx)
		}
	}
}

// pause waits a moment, and then for as long as the server is away.
func (c *Coordinator) pause(ctx context.Context) {
	select {
	case <-time.After(hearAgain):
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		changed, err := c.conn.Get()
		if err == nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}
