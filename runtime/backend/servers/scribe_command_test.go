//go:build unix

package servers_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A command is one message to the server.
type command struct {
	raw       []byte
	name      string // "" where it isn't understood: it is carried all the same
	body      bson.Raw
	sequences map[string][]bson.Raw
	who       string // the instance

	collection string
	ids        []string // of the documents that it may change
}

const (
	opQuery = 2004 // how a connection begins
	opMsg   = 2013
)

func readCommand(r io.Reader) (*command, error) {
	raw, err := message(r)
	if err != nil {
		return nil, err
	}
	c := &command{raw: raw, sequences: map[string][]bson.Raw{}}
	if err := c.parse(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *command) parse() error {
	const header = 16
	rest := c.raw[header:]
	switch code := little(c.raw[12:]); code {
	case opQuery:
		rest = rest[4:]
		end := slices.Index(rest, 0)
		if end < 0 || len(rest) < end+9 {
			return errors.New("a query that is none")
		}
		c.body = bson.Raw(rest[end+9:])
	case opMsg:
		checksum := little(rest)&1 != 0
		rest = rest[4:]
		if checksum {
			rest = rest[:len(rest)-4]
		}
		for len(rest) > 0 {
			kind := rest[0]
			rest = rest[1:]
			n := int(little(rest))
			part := rest[:n]
			rest = rest[n:]
			if kind == 0 {
				c.body = bson.Raw(part)
				continue
			}
			name, docs, _ := strings.Cut(string(part[4:]), "\x00")
			for len(docs) > 0 {
				n := int(little([]byte(docs[:4])))
				c.sequences[name] = append(c.sequences[name], bson.Raw(docs[:n]))
				docs = docs[n:]
			}
		}
	default:
		return fmt.Errorf("a message of kind %d", code)
	}
	first, err := c.body.IndexErr(0)
	if err != nil {
		return err
	}
	c.name = first.Key()
	return nil
}

func little(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// application is the name of the program that makes a connection.
func (c *command) application() string {
	name, _ := c.body.Lookup("client", "application", "name").StringValueOK()
	return name
}

// writes returns the collection in which a command changes something that the account is about; "" where it doesn't.
func (c *command) writes() string {
	if c.name != "insert" && c.name != "update" && c.name != "delete" {
		return ""
	}
	switch in, _ := c.body.Lookup(c.name).StringValueOK(); {
	case in == "tasks", in == "owners" && c.convicts(): // beats are none of its business
		return in
	}
	return ""
}

// convicts says whether a command convicts an owner.
func (c *command) convicts() bool {
	return slices.ContainsFunc(c.documents("update", "updates"), func(d bson.Raw) bool {
		return d.Lookup("u", "$set", "convicted").Type != 0
	})
}

// documents returns the parts of a command of a name.
func (c *command) documents(name, field string) []bson.Raw {
	if c.name != name {
		return nil
	}
	if list := c.sequences[field]; list != nil {
		return list
	}
	array, ok := c.body.Lookup(field).ArrayOK()
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

// idsIn returns the ids that a filter names.
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

// setting says whether a command sets a field of some task's document to a value.
func setting(field, value string) func(*command) bool {
	return func(c *command) bool {
		return c.writes() == "tasks" && slices.ContainsFunc(c.documents("update", "updates"), func(d bson.Raw) bool {
			v, ok := d.Lookup("u", "$set", field).StringValueOK()
			return ok && (value == "" || v == value)
		})
	}
}

// about is what, of a command that names a task.
func about(id string, what func(*command) bool) func(*command) bool {
	return func(c *command) bool {
		if !what(c) {
			return false
		}
		for _, d := range c.documents("update", "updates") {
			if ids, _ := idsIn(d.Lookup("q").Document()); slices.Contains(ids, id) {
				return true
			}
		}
		return slices.ContainsFunc(c.documents("insert", "documents"), func(d bson.Raw) bool { return d.Lookup("_id").StringValue() == id })
	}
}

// The commands that tests wait for.
var (
	claims  = setting("status", "running")
	settles = setting("settled", "")
	judges  = func(c *command) bool { return c.writes() == "owners" }
	inserts = func(c *command) bool { return c.name == "insert" && c.writes() == "tasks" }
	hints   = func(c *command) bool { // marks tasks as hinted
		return c.writes() == "tasks" && slices.ContainsFunc(c.documents("update", "updates"), func(d bson.Raw) bool {
			return d.Lookup("u", "$set", "hints").Type != 0
		})
	}
)

// purpose is what a command is for.
func (c *command) purpose() string {
	in, _ := c.body.Lookup(c.name).StringValueOK()
	switch {
	case in == "":
		return "connection"
	case inserts(c):
		return "insert"
	case claims(c):
		return "claim"
	case settles(c):
		return "settle"
	case hints(c):
		return "mark hints"
	}
	return c.name + " " + in
}

func message(r io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	n := little(header)
	if n < 16 || n > 64<<20 {
		return nil, errors.New("no message")
	}
	all := append(header, make([]byte, n-4)...)
	_, err := io.ReadFull(r, all[4:])
	return all, err
}
