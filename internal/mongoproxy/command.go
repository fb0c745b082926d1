package mongoproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A Command is one message to the server.
type Command struct {
	Name        string   // such as insert
	Body        bson.Raw // without the document sequences of an OP_MSG
	Application string   // from the client's handshake; "" if it sent none

	raw       []byte
	sequences map[string][]bson.Raw
}

// The format of messages. All numbers are little-endian int32:
//
//	header     length of the message, request id, id of the request that it answers, opcode
//	OP_QUERY   flags, C string: collection, number to skip, number to return, document
//	OP_MSG     flags, sections, CRC-32C if flag 0 is set
//	section    byte 0, document
//	           byte 1, length of the rest, C string: name, documents
const (
	headerSize = 16
	maxMessage = 64 << 20 // more than the server's 48 MB

	opQuery = 2004
	opMsg   = 2013

	checksumPresent = 1
)

var errMalformed = errors.New("malformed MongoDB message")

// readMessage reads one message including its header.
func readMessage(r io.Reader) ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length)
	if n < headerSize || n > maxMessage {
		return nil, errMalformed
	}
	message := append(length, make([]byte, n-4)...)
	_, err := io.ReadFull(r, message[4:])
	return message, err
}

func readCommand(r io.Reader) (*Command, error) {
	message, err := readMessage(r)
	if err != nil {
		return nil, err
	}
	return parse(message)
}

// parse parses a message whose length readMessage has checked.
func parse(message []byte) (*Command, error) {
	c := &Command{raw: message, sequences: map[string][]bson.Raw{}}
	body := message[headerSize:]
	var err error
	switch opcode := binary.LittleEndian.Uint32(message[12:]); opcode {
	case opQuery:
		err = c.parseQuery(body)
	case opMsg:
		err = c.parseMsg(body)
	default:
		err = fmt.Errorf("MongoDB message with opcode %d", opcode)
	}
	if err != nil {
		return nil, err
	}
	first, err := c.Body.IndexErr(0)
	if err != nil {
		return nil, err
	}
	c.Name = first.Key()
	return c, nil
}

func (c *Command) parseQuery(b []byte) error {
	if len(b) < 4 {
		return errMalformed
	}
	_, rest, ok := strings.Cut(string(b[4:]), "\x00")
	if !ok || len(rest) < 8 {
		return errMalformed
	}
	var err error
	c.Body, _, err = cutDocument([]byte(rest[8:]))
	return err
}

func (c *Command) parseMsg(b []byte) error {
	if len(b) < 4 {
		return errMalformed
	}
	flags, b := binary.LittleEndian.Uint32(b), b[4:]
	if flags&checksumPresent != 0 {
		if len(b) < 4 {
			return errMalformed
		}
		b = b[:len(b)-4]
	}
	for len(b) > 0 {
		kind := b[0]
		section, rest, err := cutDocument(b[1:]) // a sequence begins with its length, too
		if err != nil {
			return err
		}
		b = rest
		if kind == 0 {
			c.Body = section
			continue
		}
		name, documents, ok := strings.Cut(string(section[4:]), "\x00")
		if !ok {
			return errMalformed
		}
		for left := []byte(documents); len(left) > 0; {
			var d bson.Raw
			if d, left, err = cutDocument(left); err != nil {
				return err
			}
			c.sequences[name] = append(c.sequences[name], d)
		}
	}
	return nil
}

// cutDocument splits off a document, which begins with its length.
func cutDocument(b []byte) (document bson.Raw, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errMalformed
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n < 4 || n > int64(len(b)) {
		return nil, nil, errMalformed
	}
	return bson.Raw(b[:n]), b[n:], nil
}

// application returns the application name from the client's handshake.
func (c *Command) application() string {
	name, _ := c.Body.Lookup("client", "application", "name").StringValueOK()
	return name
}

// Collection returns the collection of the command, or "" if there is none.
func (c *Command) Collection() string {
	name, _ := c.Body.Lookup(c.Name).StringValueOK()
	return name
}

// Purpose returns the command's name and collection, or "connection" for a command without a collection.
func (c *Command) Purpose() string {
	if c.Collection() == "" {
		return "connection"
	}
	return c.Name + " " + c.Collection()
}

const findAndModify = "findAndModify"

// writes reports whether the command may change documents.
func (c *Command) writes() bool {
	return c.Name == "insert" || c.Name == "update" || c.Name == "delete" || c.Name == findAndModify
}

// documents returns the documents in a field of the command called name. For other commands it returns none.
func (c *Command) documents(name, field string) []bson.Raw {
	if c.Name != name {
		return nil
	}
	if list := c.sequences[field]; list != nil {
		return list
	}
	array, ok := c.Body.Lookup(field).ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	list := make([]bson.Raw, len(values))
	for i, v := range values {
		list[i] = v.Document()
	}
	return list
}

// filters returns the filters of an update, delete or findAndModify.
func (c *Command) filters() []bson.Raw {
	var filters []bson.Raw
	if query, ok := c.Body.Lookup("query").DocumentOK(); ok && c.Name == findAndModify {
		filters = append(filters, query)
	}
	for _, d := range append(c.documents("update", "updates"), c.documents("delete", "deletes")...) {
		filters = append(filters, d.Lookup("q").Document())
	}
	return filters
}

// idsIn returns the ids in a filter. ok is false if it has none.
func idsIn(filter bson.Raw) ([]string, bool) {
	v, err := filter.LookupErr("_id")
	if err != nil {
		return nil, false
	}
	if id, ok := v.StringValueOK(); ok {
		return []string{id}, true
	}
	in, err := filter.LookupErr("_id", "$in")
	if err != nil {
		return nil, false
	}
	values, err := in.Array().Values()
	if err != nil {
		return nil, false
	}
	ids := make([]string, len(values))
	for i, v := range values {
		ids[i] = v.StringValue()
	}
	return ids, true
}

// A Matcher reports whether a command is the one that a test waits for.
type Matcher func(*Command) bool

// Named matches commands by name, such as find.
func Named(name string) Matcher {
	return func(c *Command) bool { return c.Name == name }
}

// Inserts matches inserts into a collection.
func Inserts(collection string) Matcher {
	return func(c *Command) bool { return c.Name == "insert" && c.Collection() == collection }
}

// Writes matches inserts, updates and deletes in a collection.
func Writes(collection string) Matcher {
	return func(c *Command) bool { return c.writes() && c.Collection() == collection }
}

// Sets matches updates in a collection that $set a field: to anything, or to one of these values.
func Sets(collection, field string, values ...string) Matcher {
	sets := func(d bson.Raw, update string) bool {
		v, err := d.LookupErr(update, "$set", field)
		if err != nil || len(values) == 0 {
			return err == nil
		}
		text, ok := v.StringValueOK()
		return ok && slices.Contains(values, text)
	}
	return func(c *Command) bool {
		if c.Collection() != collection {
			return false
		}
		return c.Name == findAndModify && sets(c.Body, "update") ||
			slices.ContainsFunc(c.documents("update", "updates"), func(d bson.Raw) bool { return sets(d, "u") })
	}
}

// WithID matches commands that match and contain the id of a document.
func WithID(id string, match Matcher) Matcher {
	return func(c *Command) bool {
		return match(c) && (slices.ContainsFunc(c.documents("insert", "documents"), func(d bson.Raw) bool {
			return d.Lookup("_id").StringValue() == id
		}) || slices.ContainsFunc(c.filters(), func(filter bson.Raw) bool {
			ids, _ := idsIn(filter)
			return slices.Contains(ids, id)
		}))
	}
}

// AfterFirst matches like match, except for the first n commands. It counts, so use it for one trap only.
func AfterFirst(n int, match Matcher) Matcher {
	return func(c *Command) bool {
		if !match(c) {
			return false
		}
		n--
		return n < 0
	}
}
