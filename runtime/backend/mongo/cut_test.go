package mongo_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// A cutter stands between a client and its server, and loses replies.
type cutter struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	lose  string // the command whose next reply is lost
	pass  int    // how many of these commands come first
	lost  int
	conns []net.Conn
	over  bool
}

// cut returns the URI of a cutter before the server of a URI.
func cut(t *testing.T, uri string) (*cutter, string) {
	t.Helper()
	host, rest, _ := strings.Cut(strings.TrimPrefix(uri, "mongodb://"), "/")
	if strings.ContainsAny(host, ",@") {
		t.Skip("NOT TESTED: only a single server without a password can be cut off")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, server: host}
	var open sync.WaitGroup
	open.Go(func() { c.accept(&open) })
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		c.over = true
		for _, conn := range c.conns {
			_ = conn.Close() // it may be closed
		}
		c.mu.Unlock()
		open.Wait()
	})
	base, query, _ := strings.Cut(rest, "?")
	query = strings.TrimPrefix(query+"&directConnection=true&retryWrites=false&retryReads=false", "&")
	return c, "mongodb://" + l.Addr().String() + "/" + base + "?" + query
}

// loseNext loses the reply to the next such command, and closes its connection.
func (c *cutter) loseNext(command string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose, c.pass = command, 0
}

// loseAfter is loseNext for the one after n of them.
func (c *cutter) loseAfter(n int, command string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose, c.pass = command, n
}

func (c *cutter) accept(open *sync.WaitGroup) {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		open.Go(func() {
			defer client.Close()
			server, err := net.Dial("tcp", c.server)
			if err != nil {
				return
			}
			defer server.Close()
			c.mu.Lock()
			c.conns = append(c.conns, client, server)
			over := c.over
			c.mu.Unlock()
			if over {
				return
			}
			c.carry(client, server)
		})
	}
}

// carry carries one message and its reply at a time.
func (c *cutter) carry(client, server net.Conn) {
	for {
		request, err := message(client)
		if err != nil {
			return
		}
		if _, err := server.Write(request); err != nil {
			return
		}
		reply, err := message(server)
		if err != nil || c.loses(request) {
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

func (c *cutter) loses(request []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lose == "" || commandOf(request) != c.lose {
		return false
	}
	if c.pass--; c.pass >= 0 {
		return false
	}
	c.lose = ""
	c.lost++
	return true
}

// commandOf is the first key of an OP_MSG's body.
func commandOf(request []byte) string {
	const opMsg, key = 2013, 16 + 4 + 1 + 4 + 1 // header, flags, kind of section, length, type
	if len(request) <= key || binary.LittleEndian.Uint32(request[12:]) != opMsg {
		return ""
	}
	name, _, _ := strings.Cut(string(request[key:]), "\x00")
	return name
}

func message(r io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header)
	if n < 16 || n > 64<<20 {
		return nil, errors.New("no message")
	}
	all := append(header, make([]byte, n-4)...)
	_, err := io.ReadFull(r, all[4:])
	return all, err
}
