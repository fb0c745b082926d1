package amqp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/afgen/afgen/runtime/backend"
)

// A sieve is a connection that keeps large bodies out of the process. The library reads a body whole, whatever its size, and a
// prefetch counts messages; so the bodies that are too large, or for which a room has no room, are skipped here, as they arrive, and a
// short one that says so is read in their place. The message is delivered with its properties, and can be refused and acknowledged.
//
// It reads plain AMQP: with TLS it wraps the TLS connection. One goroutine reads.
type sieve struct {
	net.Conn
	in   *bufio.Reader
	room *room // nil: there is room for all

	out  []byte // to be read first
	pass int    // bytes of the present frame to pass on after that
	then []byte // to be read after these
	skip int    // bytes of the present frame to skip
	raw  bool   // what comes is no frames

	tags    map[uint16]string // by channel: the consumer of the message that is coming
	skipped map[uint16]uint64 // by channel: what is left to skip of a body
}

// The frames of AMQP 0-9-1: a type, a channel, a size, as many bytes, and one more.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameStart     = 7
	frameEnd       = 0xce

	deliver = 60<<16 | 60 // basic.deliver; its first argument is the consumer's tag
)

func newSieve(c net.Conn, r *room) *sieve {
	return &sieve{Conn: c, in: bufio.NewReaderSize(c, 32<<10), room: r, tags: map[uint16]string{}, skipped: map[uint16]uint64{}}
}

// Read implements net.Conn.
func (s *sieve) Read(b []byte) (int, error) {
	for {
		switch {
		case len(b) == 0:
			return 0, nil
		case len(s.out) > 0:
			n := copy(b, s.out)
			s.out = s.out[n:]
			return n, nil
		case s.raw:
			return s.in.Read(b)
		case s.pass > 0:
			n, err := s.in.Read(b[:min(len(b), s.pass)])
			s.pass -= n
			return n, err
		case len(s.then) > 0:
			s.out, s.then = s.then, nil
		case s.skip > 0:
			n, err := s.in.Discard(s.skip)
			if s.skip -= n; err != nil {
				return 0, err
			}
		default:
			if err := s.frame(); err != nil {
				return 0, err
			}
		}
	}
}

// frame looks at the next frame and decides what to do with it. What doesn't look as it should is passed on: the library says
// what is wrong with it.
func (s *sieve) frame() error {
	start, err := s.in.Peek(frameStart)
	if err != nil {
		return err
	}
	kind, channel, size := start[0], binary.BigEndian.Uint16(start[1:]), int(binary.BigEndian.Uint32(start[3:]))
	s.pass = frameStart + size + 1
	switch kind {
	case frameMethod:
		delete(s.skipped, channel) // it interrupts what was coming
		delete(s.tags, channel)
		return s.method(channel, size)
	case frameHeader:
		return s.header(channel, size)
	case frameBody:
		if left := s.skipped[channel]; left > 0 {
			s.skip, s.pass = s.pass, 0
			if s.skipped[channel] = left - min(left, uint64(size)); left <= uint64(size) {
				delete(s.skipped, channel)
			}
		}
	case frameHeartbeat:
	default:
		s.raw = true // such as the version that a broker wants
	}
	return nil
}

// method notes whom a message is for.
func (s *sieve) method(channel uint16, size int) error {
	const before = frameStart + 4 + 1
	if size < 4+1 {
		return nil
	}
	b, err := s.in.Peek(before)
	if err != nil || binary.BigEndian.Uint32(b[frameStart:]) != deliver {
		return err
	}
	n := int(b[before-1])
	if size < 4+1+n {
		return nil
	}
	if b, err = s.in.Peek(before + n); err == nil {
		s.tags[channel] = string(b[before:])
	}
	return err
}

// header decides about a body by its size.
func (s *sieve) header(channel uint16, size int) error {
	const until = frameStart + 2 + 2 + 8
	if size < until-frameStart {
		return nil
	}
	b, err := s.in.Peek(until)
	if err != nil {
		return err
	}
	length := binary.BigEndian.Uint64(b[until-8:])
	verdict := s.room.take(s.tags[channel], length)
	delete(s.tags, channel)
	if verdict == taken {
		return nil
	}
	body := cutBody(verdict, length)
	s.out = binary.BigEndian.AppendUint64(bytes.Clone(b[:until-8]), uint64(len(body)))
	if _, err := s.in.Discard(until); err != nil {
		return err
	}
	s.pass -= until
	s.then = binary.BigEndian.AppendUint16([]byte{frameBody}, channel)
	s.then = binary.BigEndian.AppendUint32(s.then, uint32(len(body)))
	s.then = append(append(s.then, body...), frameEnd)
	s.skipped[channel] = length
	return nil
}

// A verdict on a body is what becomes of it.
type verdict string

const (
	taken    verdict = ""
	tooLarge verdict = "large"
	noRoom   verdict = "full"
)

// cutMark begins what is read in place of a body. No JSON and no id of a task begins so.
const cutMark = "\x00afgen cut "

func cutBody(v verdict, length uint64) []byte { return fmt.Appendf(nil, "%s%s %d", cutMark, v, length) }

// cutOff returns the verdict on a body, and its length.
func cutOff(body []byte) (v verdict, length uint64) {
	rest, ok := bytes.CutPrefix(body, []byte(cutMark))
	if !ok {
		return taken, uint64(len(body))
	}
	if _, err := fmt.Sscanf(string(rest), "%s %d", &v, &length); err != nil || v != noRoom {
		v = tooLarge
	}
	return v, length
}

// cutRequest returns why a request whose body was cut off is refused; nil if it was not.
func cutRequest(body []byte) *backend.Error {
	switch v, length := cutOff(body); v {
	case tooLarge:
		return backend.Errorf(backend.ErrResourceExhausted, "the arguments are %d bytes; at most %d are allowed", length, backend.MaxMessage).
			With(backend.OutcomeAnswered)
	case noRoom:
		return backend.Errorf(backend.ErrUnavailable, "the instance has no room for a request of %d bytes: it holds %d MiB of others; "+
			"run more instances, or send less at once", length, maxRequests>>20).With(backend.OutcomeNotSent)
	}
	return nil
}
