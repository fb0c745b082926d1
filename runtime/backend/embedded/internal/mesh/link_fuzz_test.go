package mesh

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// frames returns the frames of a program. Four bytes of it select kind, id, headers and body of one frame. From the
// first byte that is not a kind on, the rest is returned unchanged.
func frames(program []byte) []byte {
	kinds := []string{kindHello, kindRequest, kindCancel, kindPass, kindReply, kindRefuse, kindBusy, kindFree, kindNotice,
		kindGap, "later"}
	ids := []string{"1", "2", "3", "out", ""}
	headers := []map[string]string{
		nil, {envelope.Version: "1", envelope.Timeout: "60000"}, {envelope.Version: "1", envelope.Timeout: "0.001"},
		{envelope.Version: "2"},
		{envelope.Version: "1", envelope.Timeout: "1e300", "h": "v", envelope.Metadata + "m": ""},
		{envelope.Code: "not_found", envelope.Message: "m", envelope.Outcome: "not_sent"},
		{envelope.Code: "\x00", envelope.Details: `[{"type":1}]`, envelope.Outcome: "later"},
	}
	types := []string{"s/M", "none/M", "s", ""}
	bodies := []string{"{}", "hold", "", "panic"}
	var out []byte
	for len(program) >= 4 && int(program[0]) < len(kinds) {
		h := &header{
			Kind: kinds[program[0]], CorrelationID: ids[int(program[1])%len(ids)], ContentType: envelope.JSON, AppID: "s",
			MessageID: "call",
			Headers:   headers[int(program[2])%len(headers)], Type: types[int(program[2])/len(headers)%len(types)],
		}
		body := []byte(bodies[int(program[3])%len(bodies)])
		head, err := encode(h, body)
		if err != nil {
			panic(err) // all of these fit
		}
		out, program = append(append(out, head...), body...), program[4:]
	}
	return append(out, program...)
}

// FuzzLink checks that an authenticated peer may send anything: each request is answered at most once, the Mesh's own
// call ends, outgoing frames are valid, and nothing is left after the connection has ended.
func FuzzLink(f *testing.F) {
	f.Add([]byte{1, 0, 1, 0, 1, 1, 1, 1, 1, 2, 1, 0, 2, 1, 5, 0, 3, 2, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0})
	f.Add([]byte{1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 7, 3, 0, 0, 6, 3, 0, 0, 7, 3, 0, 0, 5, 3, 5, 0})
	f.Add([]byte{4, 3, 0, 0, 4, 3, 6, 0, 10, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 5})
	f.Add([]byte{1, 0, 2, 1, 1, 1, 3, 0, 1, 2, 8, 3, 1, 4, 4, 2, 255})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 4<<10 {
			return
		}
		bubble.Test(t, func(t *testing.T) { overLink(t, frames(program)) })
	})
}

func overLink(t *testing.T, sent []byte) {
	m := unstarted(t, Options{ID: "m", Resolve: always("s")})
	serve(m, 2, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		if string(req.Body) == "hold" {
			<-ctx.Done()
		}
		reply(&backend.Reply{Body: req.Body})
		reply(&backend.Reply{Err: backend.NewError(backend.ErrInternal, "a second reply")})
	})
	s := connectFake(t, m, "s")
	call := startCall(t.Context(), m, "out")
	requests := map[string]int{}
	for r := newFrameReader(bytes.NewReader(sent)); ; {
		h, _, err := r.next(maxFrame)
		if err != nil {
			break
		}
		if h.Kind == kindRequest {
			requests[h.CorrelationID]++
		}
	}
	readErr := make(chan error)
	go func() {
		for {
			h, _, err := s.in.next(maxFrame)
			if err != nil {
				readErr <- err
				return
			}
			if h.Kind != kindReply && h.Kind != kindRefuse {
				continue
			}
			if requests[h.CorrelationID]--; requests[h.CorrelationID] < 0 {
				t.Errorf("more answers than requests: %+v", h)
			}
		}
	}()
	_, _ = s.conn.Write(sent) // the connection may end before all is read
	synctest.Wait()
	time.Sleep(2 * reservation) // in virtual time
	_ = s.conn.Close()
	if err := <-readErr; errors.Is(err, errMalformed) {
		t.Errorf("the link sent a malformed frame: %v", err)
	}
	select {
	case <-call:
	case <-time.After(2 * time.Minute): // in virtual time; the call's timeout is shorter
		t.Error("a call did not end")
	}
	wantIdle(t, m)
}
