package mongoproxy_test

import (
	"encoding/binary"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/testkit"
)

// message returns an OP_MSG with a command.
func message(t testing.TB, command bson.D, sequences ...[]byte) []byte {
	t.Helper()
	body, err := bson.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	m := make([]byte, 20, 64) // header, flags
	binary.LittleEndian.PutUint32(m[12:], 2013)
	m = append(append(m, 0), body...)
	for _, s := range sequences {
		m = append(m, s...)
	}
	binary.LittleEndian.PutUint32(m, uint32(len(m)))
	return m
}

// sequence returns a section of an OP_MSG with documents.
func sequence(t testing.TB, name string, documents ...bson.D) []byte {
	t.Helper()
	s := append([]byte{1, 0, 0, 0, 0}, name+"\x00"...)
	for _, d := range documents {
		b, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, b...)
	}
	binary.LittleEndian.PutUint32(s[1:], uint32(len(s)-1))
	return s
}

func d(key string, value any) bson.D { return bson.D{{Key: key, Value: value}} }

// server starts an echo server and returns a proxy in front of it, and a function for the names that the server
// received.
func server(t *testing.T) (*mongoproxy.Proxy, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var names []string
	addr := testkit.Serve(t, func(c net.Conn) {
		for {
			m, err := read(c)
			if err != nil || binary.LittleEndian.Uint32(m[12:]) != 2013 {
				return // the proxy's own client
			}
			name, err := bson.Raw(m[21:]).IndexErr(0)
			if err != nil {
				return
			}
			mu.Lock()
			names = append(names, name.Key())
			mu.Unlock()
			if _, err := c.Write(m); err != nil {
				return
			}
		}
	})
	return mongoproxy.New(t, "mongodb://"+addr+"/test", mongoproxy.Config{}), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(names)
	}
}

func read(r io.Reader) ([]byte, error) {
	m := make([]byte, 16)
	if _, err := io.ReadFull(r, m); err != nil {
		return nil, err
	}
	m = append(m, make([]byte, binary.LittleEndian.Uint32(m)-16)...)
	_, err := io.ReadFull(r, m[16:])
	return m, err
}

// A client sends messages.
type client struct {
	net.Conn
	*testing.T
}

func connect(t *testing.T, p *mongoproxy.Proxy) client {
	t.Helper()
	address, _, _ := strings.Cut(strings.TrimPrefix(p.URI(), "mongodb://"), "/")
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return client{c, t}
}

// send sends a message and returns the reply.
func (c client) send(m []byte) ([]byte, error) {
	if _, err := c.Write(m); err != nil {
		return nil, err
	}
	return read(c)
}

func TestCommandsAndRepliesAreForwarded(t *testing.T) {
	p, names := server(t)
	c := connect(t, p)
	for _, m := range [][]byte{
		message(t, bson.D{{Key: "hello", Value: 1}, {Key: "client", Value: d("application", d("name", "me"))}}),
		message(t, d("find", "tasks")),
		message(t, d("insert", "tasks"), sequence(t, "documents", d("_id", "a"), d("_id", "b"))),
	} {
		if reply, err := c.send(m); err != nil || string(reply) != string(m) {
			t.Errorf("%q, %v", reply, err)
		}
	}
	if got := slices.DeleteFunc(names(), func(n string) bool { return n == "hello" }); !slices.Equal(got,
		[]string{"find", "insert"}) {
		t.Errorf("the server got %q", got)
	}
	spent := p.Spent()
	if got := slices.Sorted(maps.Keys(spent)); !slices.Equal(got, []string{"connection", "find tasks", "insert tasks"}) ||
		spent["find tasks"].Commands != 1 {
		t.Errorf("spent %v", spent)
	}
	if spent = p.Spent(); len(spent) > 0 {
		t.Errorf("spent since %v", spent)
	}
}

func TestTrapsEndConnections(t *testing.T) {
	p, names := server(t)
	first := connect(t, p)
	if _, err := first.send(message(t, bson.D{{Key: "hello", Value: 1},
		{Key: "client", Value: d("application", d("name", "me"))}})); err != nil {
		t.Fatal(err)
	}
	application := ""
	insert := message(t, d("insert", "tasks"), sequence(t, "documents", d("_id", "a")))
	before := p.Trap(mongoproxy.Before, mongoproxy.Inserts("tasks"),
		func(c *mongoproxy.Command) { application = c.Application })
	after := p.Trap(mongoproxy.After, mongoproxy.AfterFirst(1, mongoproxy.Named("find")), nil)
	if _, err := first.send(insert); err == nil {
		t.Error("a reply to a trapped insert")
	}
	before.Await(t, time.Minute)
	if application != "me" || slices.Contains(names(), "insert") {
		t.Errorf("the client is %q, the server got %q", application, names())
	}
	second := connect(t, p)
	for _, m := range [][]byte{insert, message(t, d("find", "tasks"))} {
		if _, err := second.send(m); err != nil {
			t.Error(err)
		}
	}
	if _, err := second.send(message(t, d("find", "tasks"))); err == nil {
		t.Error("a reply to the second find")
	}
	after.Await(t, time.Minute)
	if got := names(); !slices.Equal(slices.DeleteFunc(got, func(n string) bool { return n == "hello" }),
		[]string{"insert", "find", "find"}) {
		t.Errorf("the server got %q", got)
	}
}

func TestBlockedRepliesArriveLater(t *testing.T) {
	p, _ := server(t)
	c := connect(t, p)
	p.Block(testkit.Replies)
	reply := make(chan error, 1)
	go func() { _, err := c.send(message(t, d("find", "tasks"))); reply <- err }()
	testkit.Eventually(t, "the server has answered", func() bool { return p.Spent()["find tasks"].Commands == 1 })
	select {
	case err := <-reply:
		t.Errorf("a blocked reply arrived: %v", err)
	default:
	}
	p.Restore()
	if err := <-reply; err != nil {
		t.Error(err)
	}
}

func TestMatchers(t *testing.T) {
	update := func(q, u any) bson.D { return bson.D{{Key: "q", Value: q}, {Key: "u", Value: u}} }
	claim := message(t, d("update", "tasks"), sequence(t, "updates",
		update(d("_id", d("$in", bson.A{"a", "b"})), d("$set", d("status", "running")))))
	inBody := message(t, bson.D{{Key: "update", Value: "tasks"},
		{Key: "updates", Value: bson.A{update(d("_id", "c"), d("$set", d("hints", 1)))}}})
	insert := message(t, d("insert", "tasks"), sequence(t, "documents", d("_id", "a"), d("_id", "b")))
	remove := message(t, d("delete", "owners"), sequence(t, "deletes", d("q", d("_id", "o"))))
	m := map[string]mongoproxy.Matcher{
		"inserts": mongoproxy.Inserts("tasks"), "writes": mongoproxy.Writes("tasks"),
		"writes_owners": mongoproxy.Writes("owners"),
		"claims":        mongoproxy.Sets("tasks", "status", "pending", "running"), "hints": mongoproxy.Sets("tasks", "hints"),
		"hints_text": mongoproxy.Sets("tasks", "hints", "1"), "b": mongoproxy.WithID("b", mongoproxy.Writes("tasks")),
		"c": mongoproxy.WithID("c", mongoproxy.Writes("tasks")),
	}
	for _, tt := range []struct {
		name    string
		message []byte
		want    string
	}{
		{"claim", claim, "b claims writes"},
		{"in_body", inBody, "c hints writes"},
		{"insert", insert, "b inserts writes"},
		{"delete", remove, "writes_owners"},
		{"find", message(t, d("find", "tasks")), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := mongoproxy.Parse(tt.message)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, name := range slices.Sorted(maps.Keys(m)) {
				if m[name](c) {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("matched by %q, want %q", got, tt.want)
			}
		})
	}
}

// Truncated or corrupted messages are errors.
func TestMalformedMessagesAreErrors(t *testing.T) {
	whole := message(t, d("insert", "tasks"), sequence(t, "documents", d("_id", "a"), d("_id", "b")))
	accepted := 0
	for n := 16; n < len(whole); n++ {
		c, err := mongoproxy.Parse(whole[:n])
		if err == nil && c.Name != "insert" {
			t.Errorf("%d of %d bytes are a command %q", n, len(whole), c.Name)
		}
		if err == nil {
			accepted++
		}
	}
	if accepted != 1 { // without the sequence
		t.Errorf("%d incomplete messages were accepted", accepted)
	}
	query := append(make([]byte, 16), "\x00\x00\x00\x00admin.$cmd\x00\x00\x00\x00\x00\xff\xff\xff\xff"...)
	binary.LittleEndian.PutUint32(query[12:], 2004)
	hello, err := bson.Marshal(d("isMaster", 1))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := mongoproxy.Parse(append(slices.Clip(query), hello...)); err != nil || c.Name != "isMaster" ||
		c.Purpose() != "connection" {
		t.Errorf("%+v, %v", c, err)
	}
	for n := 16; n <= len(query); n++ {
		if _, err := mongoproxy.Parse(query[:n]); err == nil {
			t.Errorf("%d bytes of an OP_QUERY are a command", n)
		}
	}
}
