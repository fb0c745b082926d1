package mesh

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A frame is one message on a connection: two lengths, a header and a body. docs/wire.md shows its bytes.
//
//	4 bytes   length of all that follows, big-endian
//	4 bytes   length of the header, big-endian
//	header    one JSON object
//	body      the rest
const (
	maxHeader = 64 << 10
	maxFrame  = 4 + maxHeader + backend.MaxMessage // limit of the first length
	maxHello  = 4 << 10                            // its limit before the peer is authenticated
)

// A header is the envelope of one message. All values are strings, as on any carrier.
type header struct {
	Kind          string            `json:"kind"`
	Type          string            `json:"type,omitempty"`
	ContentType   string            `json:"content_type,omitempty"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	MessageID     string            `json:"message_id,omitempty"`
	AppID         string            `json:"app_id,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
}

// errMalformed is wrapped by errors after which the stream can't be decoded further.
var errMalformed = errors.New("malformed frame")

// check returns an error if h is invalid.
func (h *header) check() error {
	if h.Kind == "" {
		return fmt.Errorf("%w: no kind", errMalformed)
	}
	for _, s := range [...]string{h.Kind, h.Type, h.ContentType, h.CorrelationID, h.MessageID, h.AppID} {
		if len(s) > envelope.MaxShort {
			return fmt.Errorf("%w: field %.20q… has %d bytes, more than the limit of %d", errMalformed, s, len(s),
				envelope.MaxShort)
		}
	}
	return nil
}

// encode returns the bytes of a frame up to its body. Its error wraps errMalformed.
func encode(h *header, body []byte) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(512)
	b.Write(make([]byte, 8)) // the lengths, set below
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(h); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	head := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	n := len(head) - 8
	if n > maxHeader || len(body) > backend.MaxMessage {
		return nil, fmt.Errorf("%w: header of %d bytes and body of %d bytes exceed the limits of %d and %d",
			errMalformed, n, len(body), maxHeader, backend.MaxMessage)
	}
	binary.BigEndian.PutUint32(head, uint32(4+n+len(body)))
	binary.BigEndian.PutUint32(head[4:], uint32(n))
	return head, nil
}

// A frameReader reads the frames of one connection.
type frameReader struct {
	r       *bufio.Reader
	scratch []byte // buffer for headers; decoding copies from it
}

func newFrameReader(r io.Reader) *frameReader { return &frameReader{r: bufio.NewReaderSize(r, 32<<10)} }

// next reads a frame of at most limit bytes. It checks the lengths before it allocates memory. The caller owns the
// body. An error wraps errMalformed if the bytes are not a valid frame; all others come from the connection.
func (f *frameReader) next(limit int) (*header, []byte, error) {
	var lengths [8]byte
	if _, err := io.ReadFull(f.r, lengths[:]); err != nil {
		return nil, nil, err
	}
	all, n := int64(binary.BigEndian.Uint32(lengths[:])), int64(binary.BigEndian.Uint32(lengths[4:]))
	size := all - 4 - n // of the body
	if all > int64(limit) || n > maxHeader || size < 0 || size > backend.MaxMessage {
		return nil, nil, fmt.Errorf("%w: invalid lengths %d and %d", errMalformed, all, n)
	}
	if int64(cap(f.scratch)) < n {
		f.scratch = make([]byte, n)
	}
	head := f.scratch[:n]
	if _, err := io.ReadFull(f.r, head); err != nil {
		return nil, nil, unexpectedEOF(err)
	}
	h := &header{}
	if err := json.Unmarshal(head, h); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := h.check(); err != nil {
		return nil, nil, err
	}
	if size == 0 {
		return h, nil, nil
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(f.r, body); err != nil {
		return nil, nil, unexpectedEOF(err)
	}
	return h, body, nil
}

// unexpectedEOF turns io.EOF into io.ErrUnexpectedEOF: the stream ended within a frame.
func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
