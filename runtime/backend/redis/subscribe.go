package redis

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// receivePause is the pause after a failed receive.
const receivePause = 200 * time.Millisecond

func (c *Coordinator) channel(topic string) string { return c.prefix + "news:" + topic }

// Subscribe implements backend.Coordinator. If the server is down, events arrive once it is back.
func (c *Coordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	c.joinTopic(ctx, topic)
	defer c.leaveTopic(topic)
	return c.topics.Subscribe(ctx, topic, fn)
}

// joinTopic subscribes to a topic's channel, unless the Coordinator already is.
func (c *Coordinator) joinTopic(ctx context.Context, topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribed[topic]++; c.subscribed[topic] > 1 {
		return
	}
	if err := c.pubsub.Subscribe(ctx, c.channel(topic)); err != nil {
		c.log.Debug("subscribing failed", "topic", topic, "error", err) // the driver retries when it reconnects
	}
}

// leaveTopic unsubscribes from a topic's channel after its last subscription has ended.
func (c *Coordinator) leaveTopic(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribed[topic]--; c.subscribed[topic] > 0 {
		return
	}
	delete(c.subscribed, topic)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.pubsub.Unsubscribe(ctx, c.channel(topic)); err != nil {
		c.log.Debug("unsubscribing failed", "topic", topic, "error", err)
	}
}

// receive passes messages to subscribers until ctx ends. Each time a channel is subscribed to, again or for the first
// time, its subscribers get nil, since earlier messages may have been missed.
func (c *Coordinator) receive(ctx context.Context) {
	for ctx.Err() == nil {
		received, err := c.pubsub.Receive(ctx)
		switch m := received.(type) {
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
			c.probeNow()
			c.awaitServer(ctx)
		}
	}
}

// awaitServer waits for receivePause, and then until the server is available.
func (c *Coordinator) awaitServer(ctx context.Context) {
	select {
	case <-time.After(receivePause):
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
