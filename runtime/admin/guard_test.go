package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// recorder is an API that records calls and does nothing.
type recorder struct {
	admin.API // nil: a method without a body below panics

	calls []string
	by    []string
	task  admin.Task
}

func (r *recorder) did(name string, a admin.Action) {
	r.calls, r.by = append(r.calls, name), append(r.by, a.By)
}

func (r *recorder) Stop(_ context.Context, _ string, a admin.Action) error {
	r.did("Stop", a)
	return nil
}

func (r *recorder) Retry(_ context.Context, _ admin.Retry, a admin.Action) (string, error) {
	r.did("Retry", a)
	return "new", nil
}

func (r *recorder) Call(_ context.Context, _ admin.Call, a admin.Action) (json.RawMessage, error) {
	r.did("Call", a)
	return json.RawMessage(`{"secret":1}`), nil
}

func (r *recorder) Task(context.Context, string) (admin.Task, error) { return r.task, nil }

func (r *recorder) Tasks(context.Context, af.TaskQuery) (af.TaskPage, error) {
	return af.TaskPage{Tasks: []af.Task{r.task.Task}}, nil
}

func (r *recorder) Logs(context.Context, string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) { yield([]string{"secret"}, nil) }
}

// callAll calls a method of an API with zero arguments and returns its error. A call that reaches a nil API panics.
func callAll(t *testing.T, api admin.API, m reflect.Method) (err error, reached bool) {
	t.Helper()
	defer func() { reached = reached || recover() != nil }()
	f := reflect.ValueOf(api).MethodByName(m.Name)
	args := []reflect.Value{reflect.ValueOf(t.Context())}
	for i := 1; i < f.Type().NumIn(); i++ {
		args = append(args, reflect.Zero(f.Type().In(i)))
	}
	out := f.Call(args)
	last := out[len(out)-1]
	if last.Kind() == reflect.Func { // a stream
		{
			last.Call([]reflect.Value{reflect.MakeFunc(last.Type().In(0), func(in []reflect.Value) []reflect.Value {
				err, _ = in[1].Interface().(error)
				return []reflect.Value{reflect.ValueOf(false)}
			})})
		}
		return err, err == nil
	}
	err, _ = last.Interface().(error)
	return err, err == nil
}

// Every method is a read or a change: a change has an Action, and a read-only user's never reaches the API. So a new
// method that is not classified fails here.
func TestGuardRefusesAllChangesOfReaders(t *testing.T) {
	iface, reader := reflect.TypeFor[admin.API](), reflect.TypeFor[admin.Reader]()
	for i := range iface.NumMethod() {
		m := iface.Method(i)
		_, reads := reader.MethodByName(m.Name)
		acts := m.Type.In(m.Type.NumIn()-1) == reflect.TypeFor[admin.Action]()
		if reads == acts {
			t.Errorf("%s is both or neither: a method of Reader, and a method with an Action", m.Name)
		}
		var none admin.API
		err, reached := callAll(t, admin.Guard(none, admin.User{Name: "ann", Rights: admin.ReadOnly()}), m)
		if reads != reached {
			t.Errorf("%s: reached the API: %t, error %v", m.Name, reached, err)
		}
		if !reads && (!errors.Is(err, af.ErrPermissionDenied) || !strings.Contains(err.Error(), `"ann"`)) {
			t.Errorf("%s: %v", m.Name, err)
		}
		if err, reached := callAll(t, admin.Guard(none, admin.User{Name: "eve"}), m); reached ||
			!errors.Is(err, af.ErrPermissionDenied) {
			t.Errorf("%s without rights: reached the API: %t, error %v", m.Name, reached, err)
		}
		if err, reached := callAll(t, admin.Guard(none, admin.User{Name: "bo", Rights: admin.AllRights()}), m); !reached {
			t.Errorf("%s with all rights: %v", m.Name, err)
		}
		if err, reached := callAll(t, admin.Guard(none, admin.User{Rights: admin.AllRights()}), m); reached != reads {
			t.Errorf("%s without a name: reached the API: %t, error %v", m.Name, reached, err)
		}
	}
}

func TestGuardActsInTheUsersName(t *testing.T) {
	r := &recorder{}
	api := admin.Guard(r, admin.User{Name: "ann", Rights: admin.AllRights()})
	if err := api.Stop(t.Context(), "x", admin.Action{By: "root"}); err != nil || r.by[0] != "ann" {
		t.Errorf("%v, by %q", err, r.by)
	}
}

func TestGuardRedactsPayloads(t *testing.T) {
	secret := json.RawMessage(`"secret"`)
	r := &recorder{task: admin.Task{Task: af.Task{
		ID: "x", Payload: secret, Result: secret, Progress: secret, Log: []string{"secret"},
		Metadata: map[string]string{"a": "secret"},
		Error:    &af.TaskError{Code: af.ErrInternal, Message: "open", Details: []af.ErrorDetail{{Type: "t", Value: secret}}},
	}, Why: &admin.Explanation{Rules: []admin.Finding{{Evidence: admin.Evidence{Progress: secret}}}}}}
	api := admin.Guard(r, admin.User{Name: "ann", Rights: []admin.Right{admin.Read, admin.Operate, admin.Submit}})
	task, err := api.Task(t.Context(), "x")
	page, perr := api.Tasks(t.Context(), af.TaskQuery{})
	reply, cerr := api.Call(t.Context(), admin.Call{}, admin.Action{})
	if err != nil || perr != nil || cerr != nil || !task.Redacted || task.Error.Message != "open" {
		t.Fatal(err, perr, cerr, task)
	}
	text, err := json.Marshal([]any{task, page, reply})
	if err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("%v, %s", err, text)
	}
	if text, _ := json.Marshal(r.task); strings.Count(string(text), "secret") != 7 {
		t.Errorf("the API's own value has changed: %s", text)
	}
	for _, err := range api.Logs(t.Context(), "x") {
		if !errors.Is(err, af.ErrPermissionDenied) {
			t.Errorf("logs: %v", err)
		}
	}
	q := af.TaskQuery{Filter: af.TaskFilter{Payload: []af.PayloadMatch{{Path: "a", Value: "b"}}}}
	if _, err := api.Tasks(t.Context(), q); !errors.Is(err, af.ErrPermissionDenied) {
		t.Errorf("a filter by payload: %v", err)
	}
	if _, err := api.StopTasks(t.Context(), q, admin.Action{}); !errors.Is(err, af.ErrPermissionDenied) {
		t.Errorf("a bulk change by payload: %v", err)
	}
	q.Filter = af.TaskFilter{Metadata: map[string]string{"a": "b"}}
	if _, err := api.Tasks(t.Context(), q); !errors.Is(err, af.ErrPermissionDenied) {
		t.Errorf("a filter by metadata: %v", err)
	}
}

func TestGuardRefusesNewPayloadWithoutSubmit(t *testing.T) {
	r := &recorder{}
	api := admin.Guard(r, admin.User{Name: "ann", Rights: []admin.Right{admin.Read, admin.Operate}})
	if _, err := api.Retry(t.Context(), admin.Retry{Payload: []byte("1")}, admin.Action{}); !errors.Is(err,
		af.ErrPermissionDenied) || len(r.calls) > 0 {
		t.Errorf("%v, %v", err, r.calls)
	}
	if id, err := api.Retry(t.Context(), admin.Retry{}, admin.Action{}); err != nil || id != "new" {
		t.Errorf("%q, %v", id, err)
	}
}

// failing is an API whose calls fail with details.
type failing struct{ admin.API }

func (failing) Call(context.Context, admin.Call, admin.Action) (json.RawMessage, error) {
	return nil, af.NewError(af.ErrOutOfRange, "too large", map[string]int{"secret": 1})
}

// Who may not see payloads gets errors of calls without their details.
func TestGuardHidesDetailsOfCalls(t *testing.T) {
	for want, rights := range [][]admin.Right{
		{admin.Read, admin.Submit}, {admin.Read, admin.Submit, admin.Payloads},
	} {
		_, err := admin.Guard(failing{}, admin.User{Name: "ann", Rights: rights}).Call(t.Context(), admin.Call{},
			admin.Action{})
		e, ok := errors.AsType[*af.Error](err)
		if !ok || e.Code != af.ErrOutOfRange || e.Message != "too large" || len(e.Details) != want {
			t.Errorf("%v: %+v", rights, err)
		}
	}
}
