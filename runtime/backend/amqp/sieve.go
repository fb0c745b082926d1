package amqp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/afgen/afgen/runtime/backend"
)

// A sieve is a connection that keeps large bodies out of memory. The library reads bodies of any size, and a prefetch
// counts messages, not bytes. So the sieve skips bodies that are too large or exceed the budget as they arrive, and
// substitutes a short placeholder. The message is delivered with its properties, so it can be rejected or acknowledged.
//
// A sieve parses plain AMQP; with TLS, it wraps the TLS connection. Only one goroutine may read.
type sieve struct {
	net.Conn
	in     *bufio.Reader
	budget *budget // nil: unlimited

	out  []byte // returned by Read first
	pass int    // bytes of the current frame to pass through next
	then []byte // returned by Read after those
	skip int    // bytes of the current frame to skip after those
	raw  bool   // pass everything through: the stream has no frames

	tags    map[uint16]string // consumer tag of the message being received, by channel
	skipped map[uint16]uint64 // bytes of a body left to skip, by channel
}

// AMQP 0-9-1 frames consist of type, channel, payload size, payload and an end octet.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameStart     = 7
	frameEnd       = 0xce

	deliver = 60<<16 | 60 // basic.deliver; its first argument is the consumer tag
)

func newSieve(c net.Conn, b *budget) *sieve {
	return &sieve{
		Conn: c, in: bufio.NewReaderSize(c, 32<<10), budget: b, tags: map[uint16]string{}, skipped: map[uint16]uint64{},
	}
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

// frame peeks at the next frame and decides what to do with it. Malformed frames pass through, and the library reports
// them.
func (s *sieve) frame() error {
	start, err := s.in.Peek(frameStart)
	if err != nil {
		return err
	}
	kind, channel, size := start[0], binary.BigEndian.Uint16(start[1:]), int(binary.BigEndian.Uint32(start[3:]))
	s.pass = frameStart + size + 1
	switch kind {
	case frameMethod:
		delete(s.skipped, channel) // a method interrupts a content
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
		s.raw = true // such as the protocol header of a broker that speaks another version
	}
	return nil
}

// method records the consumer tag of a delivery.
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

// header decides on a body by its size.
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
	verdict := s.budget.admit(s.tags[channel], length)
	delete(s.tags, channel)
	if verdict == accepted {
		return nil
	}
	body := placeholder(verdict, length)
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

// A verdict is the decision on a body.
type verdict string

const (
	accepted   verdict = ""
	tooLarge   verdict = "large"
	overBudget verdict = "full"
)

// placeholderMark is the prefix of a placeholder. JSON and task IDs never start with it.
const placeholderMark = "\x00afgen cut "

func placeholder(v verdict, length uint64) []byte {
	return fmt.Appendf(nil, "%s%s %d", placeholderMark, v, length)
}

// parsePlaceholder returns the verdict on a body and its original length.
func parsePlaceholder(body []byte) (v verdict, length uint64) {
	n := len(placeholderMark)
	if len(body) < n || string(body[:n]) != placeholderMark {
		return accepted, uint64(len(body))
	}
	return parseVerdict(string(body[n:]))
}

// parseVerdict parses the rest of a placeholder. It is a function of its own because its results escape.
func parseVerdict(rest string) (v verdict, length uint64) {
	if _, err := fmt.Sscanf(rest, "%s %d", &v, &length); err != nil || v != overBudget {
		v = tooLarge
	}
	return v, length
}

// checkPlaceholder returns an error if body is a placeholder, since its request must be refused.
func checkPlaceholder(body []byte) *backend.Error {
	switch v, length := parsePlaceholder(body); v {
	case tooLarge:
		return backend.Errorf(backend.ErrResourceExhausted, "the arguments are %d bytes; at most %d are allowed", length,
			backend.MaxMessage).With(backend.OutcomeAnswered)
	case overBudget:
		return backend.Errorf(backend.ErrUnavailable, "instance overloaded: a request of %d bytes exceeds its limit of %d "+
			"MiB of requests held; run more instances or send less at once", length, maxRequests>>20).
			With(backend.OutcomeNotSent)
	}
	return nil
}
