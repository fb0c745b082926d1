package mongoproxy

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A Change is the change of one document by one command.
type Change struct {
	At            time.Time
	Application   string // of the client that sent the command
	Collection    string
	Before, After bson.Raw // nil if there is no document; Before is as the journal last saw it
}

// A journal records the changes of commands.
//
// It runs one of its commands at a time; other commands run concurrently. It determines which documents a command may
// change: the filter names them, or matches them while nothing else can change. It knows these documents before the
// command, and reads them afterwards over its own connection. So its records are changes in the store, command by
// command and in order, whether or not the client got a reply.
//
// If the server exits while it runs a command, the command's outcome is unknown. Its documents are read again before
// the next command, and any changes are recorded for it.
type journal struct {
	db      *mongo.Database
	matches map[string]Matcher

	mu        sync.Mutex // held while a command takes effect
	documents map[string]map[string]bson.Raw
	changes   []Change
	unknown   []effect // with unknown outcome
}

// An effect has the documents that a command may have changed.
type effect struct {
	*Command
	ids []string // of documents
}

func newJournal(db *mongo.Database, matches map[string]Matcher) *journal {
	j := &journal{db: db, matches: matches, documents: map[string]map[string]bson.Raw{}}
	for collection := range matches {
		j.documents[collection] = map[string]bson.Raw{}
	}
	return j
}

// record sends a command and records its changes.
func (j *journal) record(c *Command, send func() ([]byte, error)) ([]byte, error) {
	match := j.matches[c.Collection()]
	if match == nil || !c.writes() || !match(c) {
		return send()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.resolve(); err != nil {
		return nil, err
	}
	ids, err := j.candidates(c)
	if err != nil {
		return nil, err
	}
	e := effect{c, ids}
	reply, err := send()
	if err != nil {
		j.unknown = append(j.unknown, e)
		return nil, err
	}
	if j.compare(e) != nil {
		j.unknown = append(j.unknown, e)
	}
	return reply, nil
}

// all returns the changes until now.
func (j *journal) all() ([]Change, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.resolve(); err != nil {
		return nil, err
	}
	return slices.Clone(j.changes), nil
}

// resolve reads the documents of commands with an unknown outcome.
func (j *journal) resolve() error {
	for len(j.unknown) > 0 {
		if err := j.compare(j.unknown[0]); err != nil {
			return err
		}
		j.unknown = j.unknown[1:]
	}
	return nil
}

// candidates returns the ids of the documents that a command may change.
func (j *journal) candidates(c *Command) ([]string, error) {
	var ids []string
	for _, d := range c.documents("insert", "documents") {
		ids = append(ids, d.Lookup("_id").StringValue())
	}
	for _, filter := range c.filters() {
		if named, ok := idsIn(filter); ok {
			ids = append(ids, named...)
			continue
		}
		found, err := j.find(c.Collection(), filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			ids = append(ids, d.Lookup("_id").StringValue())
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// compare records the changes of a command's documents.
func (j *journal) compare(e effect) error {
	if len(e.ids) == 0 {
		return nil
	}
	at := time.Now()
	found, err := j.find(e.Collection(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: e.ids}}}})
	if err != nil {
		return err
	}
	now := make(map[string]bson.Raw, len(found))
	for _, d := range found {
		now[d.Lookup("_id").StringValue()] = d
	}
	known := j.documents[e.Collection()]
	for _, id := range e.ids {
		before, after := known[id], now[id]
		if bytes.Equal(before, after) {
			continue
		}
		j.changes = append(j.changes, Change{at, e.Application, e.Collection(), before, after})
		if known[id] = after; after == nil {
			delete(known, id)
		}
	}
	return nil
}

func (j *journal) find(collection string, filter any, opts ...options.Lister[options.FindOptions]) ([]bson.Raw, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cur, err := j.db.Collection(collection).Find(ctx, filter, opts...)
	if err != nil {
		return nil, err
	}
	var found []bson.Raw
	err = cur.All(ctx, &found)
	return found, err
}
