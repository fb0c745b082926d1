package adminhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/http"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/httpstatus"

	"io"
)

const maxEvent = 4 << 20 // bytes of a line of a stream

// follow yields the values of a stream.
func follow[A, V any](ctx context.Context, c *client, s *stream[A, V], args A) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		var none V
		resp, err := c.do(ctx, s.Route, args)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, maxEvent)
		name := ""
		for lines.Scan() {
			line := lines.Bytes()
			if text, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
				name = string(text)
				continue
			}
			data, ok := bytes.CutPrefix(line, []byte("data: "))
			switch {
			case !ok: // a comment, or the end of an event
				continue
			case name == "end":
				return
			case name == "error":
				yield(none, problemError(data))
				return
			}
			var v V
			if err := json.Unmarshal(data, &v); err != nil {
				yield(none, af.Errorf(af.ErrInternal, "%s: decoding an event: %w", s.Name, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		err = lines.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		yield(none, lost(ctx, s.Route, err))
	}
}

// problemError returns the error that problem details describe.
func problemError(body []byte) error {
	var p httpstatus.Problem
	if json.Unmarshal(body, &p) != nil || p.Status < http.StatusBadRequest {
		p.Status = http.StatusInternalServerError
	}
	return httpstatus.Read(&http.Response{
		StatusCode: p.Status, Header: http.Header{"Content-Type": {httpstatus.ContentType}},
		Body: io.NopCloser(bytes.NewReader(body)),
	})
}
