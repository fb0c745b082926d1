package amqp

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A client written in Python, with a plain AMQP library and docs/wire.md, can call a service.
func TestPythonClient(t *testing.T) {
	python := ""
	for _, p := range []string{"/usr/bin/python3", "python3"} { // another one in the PATH may not see Debian's packages
		if exec.Command(p, "-c", "import pika").Run() == nil {
			python = p
		}
	}
	if python == "" {
		t.Skip("python3 with pika is not installed (Debian: apt-get install python3-pika)")
	}
	url := devstack.AMQP(t)
	serve(t, dial(t, url), "calc", 4, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		switch {
		case req.Method != "Div" || req.Metadata["user"] != "ann" || req.Caller != "script" || req.Timeout > 5*time.Second:
			reply(&backend.Reply{Err: backend.Errorf(backend.ErrInternal, "received %+v", req).With(backend.OutcomeAnswered)})
		case string(req.Body) == `{"x": 6, "y": 3}`:
			reply(&backend.Reply{Body: []byte(`{"result":2}`), Server: "8"})
		default:
			reply(&backend.Reply{Err: backend.NewError(backend.ErrInvalidArgument, "y is 0").With(backend.OutcomeAnswered),
				Server: "8"})
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "testdata/client.py", url).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := []string{`{'result': 2} by 8`, `invalid_argument: y is 0`, `no instance of missing`}
	if got := strings.Split(strings.TrimSpace(string(out)), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("it printed %q, want %q", got, want)
	}
}
