package runtime

import (
	"bytes"
	"encoding/json"
	"sync"
)

var encodeBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooledBuffer keeps one large message from being held for ever.
const maxPooledBuffer = 64 << 10

// encode marshals v without escaping HTML, which other languages' readers need not undo.
func encode(v any) (json.RawMessage, error) {
	b := encodeBuffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= maxPooledBuffer {
			b.Reset()
			encodeBuffers.Put(b)
		}
	}()
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.Clone(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}
