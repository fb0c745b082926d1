//go:build unix

package mesh

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

func TestStoppedProcessBlocksNoCaller(t *testing.T) {
	r, o := newRecord(Options{ID: "m", Resolve: always("child")})
	m := start(t, o)
	p, _ := spawn(t, m)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	req := request()
	req.Body = make(json.RawMessage, 2<<20) // more than the socket buffers
	for range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := m.Call(ctx, req)
		cancel()
		if backend.CodeOf(err) != backend.ErrDeadlineExceeded {
			t.Errorf("%v", err)
		}
		m.Notify([]string{"child"}, Notice{Kind: "n"})
	}
	wantEvents(t, r.waitFor(2), "child gap", "child lost") // after some seconds
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
