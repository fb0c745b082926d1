package child

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// MaxFrame is the maximum size of a frame in bytes. It fits many payloads of the maximum size.
const MaxFrame = 64 << 20

var smaller atomic.Int64

// LimitFrames lowers MaxFrame in this process; 0 restores it. It is for tests, which must also call it in the child.
func LimitFrames(n int) { smaller.Store(int64(n)) }

func limit() int {
	if n := smaller.Load(); n > 0 {
		return int(n)
	}
	return MaxFrame
}

// Part returns the size in bytes into which larger data should be split. Any encoding of a part fits a frame.
func Part() int { return limit() / 4 }

// A frame is one message on the pipe: its length, the length of its head, the head, and the body, which is JSON and
// isn't decoded in transit. A request has an id and an op, its reply the same id and no op, and a notice an op and no
// id. opCancel with an id cancels that request, for the reason in Fault.
type frame struct {
	ID    uint64          `json:"id,omitempty"`
	Op    string          `json:"op,omitempty"`
	Fault *Fault          `json:"fault,omitempty"`
	Body  json.RawMessage `json:"-"`
}

const (
	opReady  = "ready"
	opCancel = "cancel"
)

// A Fault is an error on the pipe. The two sides of each kind of child agree on Kind, Panic, At, Stack and Delay.
type Fault struct {
	Kind    string                `json:"kind,omitempty"`
	Code    backend.Code          `json:"code"`
	Message string                `json:"message,omitempty"`
	Outcome backend.Outcome       `json:"outcome,omitempty"`
	Details []backend.ErrorDetail `json:"details,omitempty"`
	Panic   string                `json:"panic,omitempty"`
	At      string                `json:"at,omitempty"`
	Stack   string                `json:"stack,omitempty"`
	Delay   time.Duration         `json:"delay,omitempty"`
	// Uncoded is set if the error is not a backend.Error; its message may not be meant for the caller.
	Uncoded bool `json:"uncoded,omitempty"`
}

// NewFault returns err as a Fault: the Error in it unchanged, or any other error with its code and text.
func NewFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	f := &Fault{Code: backend.CodeOf(err), Message: err.Error()}
	if e, ok := errors.AsType[*backend.Error](err); ok {
		f.Message, f.Outcome, f.Details = e.Message, e.Outcome, e.Details
	}
	return f
}

// Error returns the code and the message.
func (f *Fault) Error() string { return f.Err().Error() }

// Err returns the Error in f.
func (f *Fault) Err() *backend.Error {
	return &backend.Error{Code: backend.ParseCode(string(f.Code)), Message: f.Message,
		Outcome: f.Outcome, Details: f.Details}
}

// tooLarge returns the error for a frame that is too large to send.
func tooLarge(n int) error {
	return backend.Errorf(backend.ErrResourceExhausted, "frame of %d bytes exceeds the child pipe's maximum of %d",
		n, limit()).With(backend.OutcomeNotSent)
}

// encode returns the bytes of f.
func encode(f frame) ([]byte, error) {
	head, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	n := 4 + len(head) + len(f.Body)
	if n > limit() {
		return nil, tooLarge(n)
	}
	b := make([]byte, 0, 4+n)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	return append(append(b, head...), f.Body...), nil
}

// decode reads one frame. Its allocations are bounded by the data received, not by the announced length.
func decode(r io.Reader) (f frame, err error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return f, err
	}
	n, head := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if int64(n) > int64(limit()) || n < 4 || head > n-4 {
		return f, fmt.Errorf("frame of %d bytes with a head of %d exceeds the maximum of %d", n, head, limit())
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n-4)); err != nil {
		return f, fmt.Errorf("truncated frame: %w", err)
	}
	f.Body = b.Bytes()[head:]
	return f, json.Unmarshal(b.Bytes()[:head], &f)
}

// body encodes the body of a frame.
func body(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
