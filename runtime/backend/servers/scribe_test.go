//go:build unix

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// A moment is before a command has its effect, or after it had and before anybody knows.
type moment int

const (
	before moment = iota
	after
)

// A trap does something when a command comes, once; then the command's connection ends: at the moment before it has no
// effect, at the one after no reply.
type trap struct {
	what   func(*command) bool
	when   moment
	do     func(*command) // nil does nothing
	sprung chan struct{}  // closed once it was done
}

// set sets a trap.
func (s *scribe) set(when moment, what func(*command) bool, do func(*command)) *trap {
	tr := &trap{what, when, do, make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traps = append(s.traps, tr)
	return tr
}

// trapped springs the trap that a command is for, if there is one.
func (s *scribe) trapped(c *command, when moment) bool {
	s.mu.Lock()
	i := slices.IndexFunc(s.traps, func(tr *trap) bool { return tr.when == when && tr.what(c) })
	if i < 0 {
		s.mu.Unlock()
		return false
	}
	tr := s.traps[i]
	s.traps = slices.Delete(s.traps, i, i+1)
	s.mu.Unlock()
	if tr.do != nil {
		tr.do(c)
	}
	close(tr.sprung)
	return true
}

// await waits until a trap has sprung.
func (tr *trap) await(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-tr.sprung:
	case <-time.After(within):
		t.Fatalf("nothing has gone into the trap within %v", within)
	}
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
