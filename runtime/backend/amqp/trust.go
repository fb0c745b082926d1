package amqp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ checks the permission of a publisher at the exchange that it publishes to, for the key that it gives. A message
// can reach a queue in other ways: by the queue's name, through another exchange, by a second key, as a dead letter. So a
// message counts only if it came through the exchange and by the key that docs/wire.md has for it. What else comes is
// dropped and counted, and the first of each kind is logged.

// prefixReplies begins the names of queues of replies, of programs that don't use direct reply-to.
const prefixReplies = "af.reply."

// deathHeader is in a message that was a dead letter. The broker sets it.
const deathHeader = "x-death"

// A rejection is why a message is dropped.
type rejection int

const (
	wrongRoute rejection = iota
	wrongReplyTo
	rejections // how many there are
)

func (r rejection) String() string {
	return [...]string{
		wrongRoute:   "it did not come through the exchange and by the key for such messages",
		wrongReplyTo: "its reply_to is neither a direct one nor a queue named " + prefixReplies + "*",
	}[r]
}

// reject notes that a message is dropped.
func (c *Conn) reject(why rejection, d *amqp091.Delivery) {
	if c.rejected[why].Add(1) > 1 {
		return
	}
	c.log.Warn("dropped a message; others that are dropped for this reason are counted, not logged", "reason", why.String(),
		"type", d.Type, "exchange", d.Exchange, "key", d.RoutingKey, "reply_to", d.ReplyTo, "app", d.AppId)
}

// dropped returns how many messages were dropped.
func (c *Conn) dropped() (n int64) {
	for i := range c.rejected {
		n += c.rejected[i].Load()
	}
	return n
}

// came reports whether a message was published to an exchange, and not brought there by a dead letter.
func came(d *amqp091.Delivery, exchange string) bool {
	_, died := d.Headers[deathHeader]
	return d.Exchange == exchange && !died
}

// mayReply reports whether a reply may be published to a reply_to. All other queues have another purpose.
func mayReply(to string) bool {
	rest, direct := strings.CutPrefix(to, replyTo)
	return direct && (rest == "" || rest[0] == '.') || strings.HasPrefix(to, prefixReplies) || to == ""
}

// newID returns 128 random bits, in hexadecimal digits. The id of a call is what its reply is known by, so that nothing but
// the request tells it.
func newID() string {
	var b [16]byte
	var text [2 * len(b)]byte
	_, _ = rand.Read(b[:]) // it doesn't fail
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// keptID is what an event says of a call that is kept: the caller knows it by that, and no reply can be made of it.
func keptID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}
