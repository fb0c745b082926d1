package amqp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ checks a publisher's permission for the exchange and routing key it publishes to. A message can reach a
// queue in other ways: by the queue's name, through another exchange, by a second key, or as a dead letter. So a
// message is only accepted if it came through the exchange and by the routing key that docs/wire.md documents for it.
// Other messages are dropped and counted, and the first of each kind is logged.

// prefixReplies begins the names of reply queues of programs that don't use direct reply-to.
const prefixReplies = "af.reply."

// deathHeader is a header that the broker sets on dead letters.
const deathHeader = "x-death"

// A rejection is the reason for which a message is dropped.
type rejection int

const (
	wrongRoute rejection = iota
	wrongReplyTo
	rejections // their number
)

func (r rejection) String() string {
	return [...]string{
		wrongRoute:   "unexpected exchange or routing key",
		wrongReplyTo: "reply_to is neither direct reply-to nor a queue named " + prefixReplies + "*",
	}[r]
}

// countDropped counts a dropped message.
func (c *Conn) countDropped(why rejection, d *amqp091.Delivery) {
	if c.rejected[why].Add(1) > 1 {
		return
	}
	c.log.Warn("dropped a message; more of this kind are counted, not logged", "reason", why.String(),
		"type", d.Type, "exchange", d.Exchange, "key", d.RoutingKey, "reply_to", d.ReplyTo, "app", d.AppId)
}

// droppedCount returns the number of dropped messages.
func (c *Conn) droppedCount() (n int64) {
	for i := range c.rejected {
		n += c.rejected[i].Load()
	}
	return n
}

// publishedTo reports whether a message was published to an exchange, rather than dead-lettered to it.
func publishedTo(d *amqp091.Delivery, exchange string) bool {
	_, died := d.Headers[deathHeader]
	return d.Exchange == exchange && !died
}

// validReplyTo reports whether replies may be published to a reply_to. All other queues have other purposes.
func validReplyTo(to string) bool {
	rest, direct := strings.CutPrefix(to, replyTo)
	return direct && (rest == "" || rest[0] == '.') || strings.HasPrefix(to, prefixReplies) || to == ""
}

// newID returns 128 random bits in hexadecimal. The ID of a call identifies its reply, so only the request may reveal
// it.
func newID() string {
	var b [16]byte
	var text [2 * len(b)]byte
	_, _ = rand.Read(b[:]) // never fails
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// keptID returns a hash of a call's ID for renewal events. The caller recognises it, and no reply can be forged with
// it.
func keptID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}
