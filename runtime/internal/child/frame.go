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

// MaxFrame is the largest frame, in bytes: many payloads of the largest size, and a bound.
const MaxFrame = 64 << 20

var smaller atomic.Int64

// LimitFrames makes frames of this process smaller than MaxFrame, which 0 restores. It is for tests, whose children must do the same.
func LimitFrames(n int) { smaller.Store(int64(n)) }

func limit() int {
	if n := smaller.Load(); n > 0 {
		return int(n)
	}
	return MaxFrame
}

// Part is into what parts, in bytes, what is larger should be split: a frame has room for it, however it is encoded.
func Part() int { return limit() / 4 }

// A frame is what goes over the pipe at once: its length, that of its head, the head and the body, which is JSON, too, and
// is not looked at on its way. A request has an id and an op, its reply the same id and no op, a notice an op and no id.
// opCancel with an id cancels the request of that id, for the reason in Fault.
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

// A Fault is an error as it crosses the pipe. Kind, At, Stack and Delay are what the two sides of a kind of child agree on.
type Fault struct {
	Kind    string                `json:"kind,omitempty"`
	Code    backend.Code          `json:"code"`
	Message string                `json:"message,omitempty"`
	Outcome backend.Outcome       `json:"outcome,omitempty"`
	Details []backend.ErrorDetail `json:"details,omitempty"`
	At      string                `json:"at,omitempty"`
	Stack   string                `json:"stack,omitempty"`
	Delay   time.Duration         `json:"delay,omitempty"`
	// Uncoded is set if the error was no backend.Error: its message is a text that need not be meant for its caller.
	Uncoded bool `json:"uncoded,omitempty"`
}

// NewFault returns err as it crosses: the Error inside as it is, anything else with its code and text.
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

// Err returns the Error that crossed.
func (f *Fault) Err() *backend.Error {
	return &backend.Error{Code: backend.ParseCode(string(f.Code)), Message: f.Message, Outcome: f.Outcome, Details: f.Details}
}

// tooLarge is the error of a frame that is not sent.
func tooLarge(n int) error {
	return backend.Errorf(backend.ErrResourceExhausted, "%d bytes don't go over the pipe of a child process at once; at most %d do",
		n, limit()).With(backend.OutcomeNotSent)
}

// encode returns a frame's bytes.
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

// decode reads one frame. What it allocates grows with what has come, not with what a length promises.
func decode(r io.Reader) (f frame, err error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return f, err
	}
	n, head := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if int64(n) > int64(limit()) || n < 4 || head > n-4 {
		return f, fmt.Errorf("a frame of %d bytes with a head of %d; at most %d are allowed", n, head, limit())
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n-4)); err != nil {
		return f, fmt.Errorf("a frame was cut off: %w", err)
	}
	f.Body = b.Bytes()[head:]
	return f, json.Unmarshal(b.Bytes()[:head], &f)
}

// body encodes what a frame carries.
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
