//go:build unix

package servers_test

import (
	"context"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A scribe stands between processes and MongoDB, which has no triggers: it carries their commands, breaks the way as it is
// told, and keeps account of what each command that writes has really done.
//
// One such command at a time is let through, all others go side by side. The scribe knows which documents the command may
// change, by its filter and under a lock that keeps everybody else from changing anything; it has them as they were, and
// reads them, over a connection of its own, as they are afterwards. So its rows are what happened in the store, command by
// command, in the order in which it happened, whether a process ever heard of it or not: a write whose reply was lost, or
// that came from a process already dead, stands there like any other. What it takes from MongoDB is only that two commands run
// at once inside the server; how they come between each other's steps is as it was. (That one command meets another is tried
// in runtime/backend/mongo.)
//
// When the server goes while a command is with it, nobody knows what came of it; the documents are read again before the next
// command that writes is let through, and what has changed is that command's.
type scribe struct {
	listener net.Listener
	server   string
	direct   *mongo.Client
	db       *mongo.Database
	open     sync.WaitGroup

	write  sync.Mutex // held while a command has its effect
	tasks  map[string]*taskDoc
	owners map[string]*ownerDoc
	rows   []row
	doubt  []*command
	broken error // why the account is not complete

	faults
	blind bool // it carries and counts, and keeps no account

	mu    sync.Mutex
	traps []*trap
	conns map[net.Conn]struct{}
	over  bool
	spent map[string]*spending // by purpose
}

// A spending is how often a command was sent, and how long it took: the server alone, where the scribe is blind.
type spending struct {
	n    int
	took time.Duration
}

// A row is one change of a document.
type row struct {
	at            time.Time
	who           string
	before, after *taskDoc
	owner         *ownerDoc // that was convicted
}

// A taskDoc is what the account keeps of a task's document.
type taskDoc struct {
	ID        string   `bson:"_id"`
	Queue     string   `bson:"queue"`
	Status    string   `bson:"status"`
	Attempt   int      `bson:"attempt"`
	Crashes   int      `bson:"crashes"`
	Fence     int64    `bson:"fence"`
	Suspect   suspect  `bson:"suspect"`
	Batch     string   `bson:"batch"`
	OnFailure string   `bson:"on_failure"`
	DoneOf    string   `bson:"done_of"`
	UniqueKey string   `bson:"unique_key"`
	Due       int64    `bson:"due"`
	Deadline  int64    `bson:"deadline"`
	Started   int64    `bson:"started"`
	Ended     int64    `bson:"ended"`
	Result    []byte   `bson:"result"`
	Subtasks  *sums    `bson:"subtasks"`
	Kin       *kin     `bson:"kin"`
	Settled   string   `bson:"settled"`
	Owner     string   `bson:"owner"`
	FanIn     bool     `bson:"fan_in"`
	Stopping  bool     `bson:"stopping"`
	Batches   []string `bson:"batches"`
	Held      string   `bson:"held"`
	Hints     int      `bson:"hints"`
}

type sums struct {
	Total     int   `bson:"total"`
	Succeeded int   `bson:"succeeded"`
	Failed    int   `bson:"failed"`
	Stopped   int   `bson:"stopped"`
	Finished  int64 `bson:"finished"`
}

// A suspect is what each loss changes of a task that is suspected.
type suspect struct {
	Losses  int `bson:"losses"`
	Cleared int `bson:"cleared"`
}

type kin struct {
	Source string `bson:"source"`
}

type ownerDoc struct {
	Name      string `bson:"_id"`
	Convicted bool   `bson:"convicted"`
}

// newScribe returns a scribe before the server and database of a URI, and the URI that leads through it.
func newScribe(t testing.TB, uri string) (*scribe, string) {
	t.Helper()
	base, query, _ := strings.Cut(uri, "?")
	host, name, _ := strings.Cut(strings.TrimPrefix(base, "mongodb://"), "/")
	if strings.ContainsAny(host, ",@") {
		t.Skip("NOT TESTED: only a single MongoDB without a password can have its commands written down")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	direct, err := mongo.Connect(options.Client().ApplyURI(uri).SetDirect(true).SetServerSelectionTimeout(2 * time.Second).
		SetHeartbeatInterval(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s := &scribe{
		listener: l, server: host, direct: direct, db: direct.Database(name), tasks: map[string]*taskDoc{},
		owners: map[string]*ownerDoc{}, conns: map[net.Conn]struct{}{}, spent: map[string]*spending{},
	}
	s.open.Go(s.accept)
	t.Cleanup(s.close)
	// Of a replica set the driver repeats writes by itself; here whoever asked for one must see that its reply was lost.
	query = strings.TrimPrefix(query+"&directConnection=true&serverMonitoringMode=poll&retryWrites=false&retryReads=false", "&")
	return s, "mongodb://" + l.Addr().String() + "/" + name + "?" + query
}

func (s *scribe) close() {
	_ = s.listener.Close()
	s.mend()
	s.mu.Lock()
	s.over = true
	for c := range s.conns {
		_ = c.Close() // it may be closed
	}
	s.mu.Unlock()
	s.open.Wait()
	_ = s.direct.Disconnect(context.Background())
}

func (s *scribe) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.open.Go(func() {
			defer client.Close()
			server, err := net.Dial("tcp", s.server)
			if err != nil {
				return
			}
			defer server.Close()
			if s.add(client, server) {
				s.carry(client, server)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, client)
			delete(s.conns, server)
		})
	}
}

func (s *scribe) add(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		s.conns[c] = struct{}{}
	}
	return !s.over
}

// carry carries one command and its reply at a time, which is how the driver speaks.
func (s *scribe) carry(client, server net.Conn) {
	who := ""
	for {
		c, err := readCommand(client)
		if err != nil {
			return
		}
		if name := c.application(); name != "" {
			who = strings.TrimPrefix(name, "afgen ")
		}
		c.who = who
		if s.trapped(c, before) {
			return
		}
		s.pass(requests)
		begun := time.Now()
		reply, err := s.effect(c, server)
		if err != nil {
			return
		}
		s.spend(c, time.Since(begun))
		if s.trapped(c, after) {
			return
		}
		s.pass(replies)
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// effect lets the server carry out a command, and notes what that has changed.
func (s *scribe) effect(c *command, server net.Conn) ([]byte, error) {
	collection := c.writes()
	if collection == "" || s.blind {
		return s.ask(c, server)
	}
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.settleDoubts(); err != nil {
		return nil, err
	}
	ids, err := s.candidates(c, collection)
	if err != nil {
		return nil, err
	}
	c.collection, c.ids = collection, ids
	reply, err := s.ask(c, server)
	if err != nil {
		s.doubt = append(s.doubt, c)
		return nil, err
	}
	if s.note(c) != nil {
		s.doubt = append(s.doubt, c)
	}
	return reply, nil
}

func (s *scribe) ask(c *command, server net.Conn) ([]byte, error) {
	if _, err := server.Write(c.raw); err != nil {
		return nil, err
	}
	return message(server)
}

// spend counts a command.
func (s *scribe) spend(c *command, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spent[c.purpose()]
	if sp == nil {
		sp = &spending{}
		s.spent[c.purpose()] = sp
	}
	sp.n++
	sp.took += took
}

// settleDoubts reads what may have changed by commands whose end is not known. It is asked before anything else changes.
func (s *scribe) settleDoubts() error {
	for len(s.doubt) > 0 {
		if err := s.note(s.doubt[0]); err != nil {
			return err
		}
		s.doubt = s.doubt[1:]
	}
	return nil
}

// candidates are the documents that a command may change.
func (s *scribe) candidates(c *command, collection string) ([]string, error) {
	var ids []string
	for _, d := range c.documents("insert", "documents") {
		ids = append(ids, d.Lookup("_id").StringValue())
	}
	for _, d := range append(c.documents("update", "updates"), c.documents("delete", "deletes")...) {
		q := d.Lookup("q").Document()
		if named, ok := idsIn(q); ok {
			ids = append(ids, named...)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		cur, err := s.db.Collection(collection).Find(ctx, q, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
		var found []struct {
			ID string `bson:"_id"`
		}
		if err == nil {
			err = cur.All(ctx, &found)
		}
		cancel()
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			ids = append(ids, f.ID)
		}
	}
	return ids, nil
}

// note compares documents with what they were.
func (s *scribe) note(c *command) error {
	if len(c.ids) == 0 {
		return nil
	}
	at := time.Now()
	if c.collection == "owners" {
		now, err := read(s.db, c, func(o *ownerDoc) string { return o.Name })
		if err != nil {
			return err
		}
		for id, o := range now {
			if was := s.owners[id]; o.Convicted && (was == nil || !was.Convicted) {
				s.rows = append(s.rows, row{at: at, who: c.who, owner: o})
			}
			s.owners[id] = o
		}
		return nil
	}
	now, err := read(s.db, c, func(x *taskDoc) string { return x.ID })
	if err != nil {
		return err
	}
	slices.Sort(c.ids)
	for _, id := range slices.Compact(c.ids) {
		was, is := s.tasks[id], now[id]
		if reflect.DeepEqual(was, is) {
			continue
		}
		s.rows = append(s.rows, row{at: at, who: c.who, before: was, after: is})
		if s.tasks[id] = is; is == nil {
			delete(s.tasks, id)
		}
	}
	return nil
}

// read reads the candidates of a command.
func read[T any](db *mongo.Database, c *command, id func(*T) string) (map[string]*T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cur, err := db.Collection(c.collection).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: c.ids}}}})
	if err != nil {
		return nil, err
	}
	var found []*T
	if err := cur.All(ctx, &found); err != nil {
		return nil, err
	}
	byID := make(map[string]*T, len(found))
	for _, x := range found {
		byID[id(x)] = x
	}
	return byID, nil
}

// account returns what has happened so far.
func (s *scribe) account() ([]row, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.settleDoubts(); err != nil {
		return nil, err
	}
	return slices.Clone(s.rows), s.broken
}

// took says what was sent to the server since it was asked last, and how long that took.
func (s *scribe) took() map[string]spending {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]spending{}
	for name, sp := range s.spent {
		all[name] = *sp
	}
	clear(s.spent)
	return all
}
