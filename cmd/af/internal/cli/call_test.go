package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// callee is a system with one service, whose calls have an error.
type callee struct {
	admin.API
	unlisted error // of Services
	err      error // of Call
	args     string
}

func (s *callee) Services(context.Context, af.ServiceQuery) (af.ServicePage, error) {
	methods := []af.MethodInfo{
		{Name: "Get", Signature: "(id string, more ...string) (int)", Idempotent: true},
		{Name: "Put", Signature: "(id string)"}, {Name: "Odd", Signature: "id: string"},
	}
	return af.ServicePage{Services: []af.ServiceInfo{{Name: "box", Methods: methods}}}, s.unlisted
}

func (s *callee) Call(_ context.Context, c admin.Call, _ admin.Action) (json.RawMessage, error) {
	s.args = string(c.Args)
	return json.RawMessage(`{"result":7}`), s.err
}

// The error of a call tells whether the method may have run, and the exit code whether it answered.
func TestCallFails(t *testing.T) {
	for _, c := range []struct {
		err    *af.Error
		method string
		code   int
		text   string
	}{
		{af.NewError(af.ErrInvalidArgument, "no such id", 7).With(af.OutcomeAnswered), "Get", exitProblem, "  int 7\n"},
		{af.NewError(af.ErrUnavailable, "the disk").With(af.OutcomeAnswered), "Get", exitProblem, "the disk"},
		{af.NewError(af.ErrUnavailable, "reset").With(af.OutcomeUnknown), "Get", exitUnavailable, "can be called again"},
		{af.NewError(af.ErrDeadlineExceeded, "late").With(af.OutcomeUnknown), "Put", exitUnavailable,
			"only if that does no harm"},
		{af.NewError(af.ErrPermissionDenied, "no right").With(af.OutcomeNotSent), "Put", exitUsage, "no right"},
	} {
		tr := newTrial(t)
		tr.api = &callee{err: c.err}
		r := tr.run("call", "box."+c.method, "id=5")
		r.wants(t, c.code, "", c.text)
		if may := strings.Contains(r.err, "may have run"); may != (c.err.Outcome == af.OutcomeUnknown) {
			t.Errorf("%v: %s", c.err, r.err)
		}
	}
}

// Without the list of services, arguments are JSON if they can be.
func TestCallUnlisted(t *testing.T) {
	tr := newTrial(t)
	to := &callee{unlisted: af.NewError(af.ErrUnavailable, "no Redis")}
	tr.api = to
	tr.run("call", "box.Get", "id=5", "name=ann", "x=[1]").wants(t, exitDone, `"result": 7`, "")
	if to.args != `{"id":5,"name":"ann","x":[1]}` {
		t.Errorf("arguments %s", to.args)
	}
	to.unlisted = nil
	tr.run("call", "box.Get", "id=5").wants(t, exitDone, `"result": 7`, "")
	if to.args != `{"id":"5"}` {
		t.Errorf("arguments %s", to.args)
	}
	tr.run("call", "box.Odd", "id=5").wants(t, exitDone, `"result": 7`, "") // a signature that can't be read
	if to.args != `{"id":5}` {
		t.Errorf("arguments %s", to.args)
	}
}
