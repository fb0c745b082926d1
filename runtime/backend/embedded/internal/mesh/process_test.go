package mesh

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

const dirEnv = "AF_TEST_DIR" // the directory of the child's socket

// child prints its address, and then the id of each call that it starts. Its calls don't end. It runs until its input
// ends.
func child() int {
	m, err := Listen(Options{ID: "child", Dir: os.Getenv(dirEnv), Resolve: always()})
	if err != nil {
		return 1
	}
	out := json.NewEncoder(os.Stdout)
	serve(m, 1, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		_ = out.Encode(req.ID)
		<-ctx.Done()
		reply(&backend.Reply{})
	})
	if err := out.Encode(m.Address()); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// spawn starts a child process and connects m with it. started reads the id of a call.
func spawn(t *testing.T, m *Mesh) (process *os.Process, started func() string) {
	t.Helper()
	p := testkit.Start(t, "child", dirEnv+"="+tempDir(t))
	lines := json.NewDecoder(p.Out)
	var a Address
	if err := lines.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if err := m.Connect(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return p.Process, func() (id string) {
		if err := lines.Decode(&id); err != nil {
			t.Error(err)
		}
		return id
	}
}

func TestKilledProcessFailsItsCallsAtOnce(t *testing.T) {
	r, o := newRecord(Options{ID: "m", Resolve: always("child")})
	m := start(t, o)
	p, started := spawn(t, m)
	sent := startCall(t.Context(), m, "1")
	if id := started(); id != "1" {
		t.Errorf("started %q", id)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	wantError(t, (<-sent).err, backend.ErrUnavailable, backend.OutcomeUnknown)
	wantEvents(t, r.waitFor(2), "child gap", "child lost")
}
