package adminhttp_test

import (
	"context"
	"encoding/json"
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

// mirror is an API that remembers what it is called with, and returns values in which no field is zero.
type mirror struct {
	got []any
}

func gives[R any](m *mirror, args ...any) (R, error) {
	m.got = args
	return filled[R](), nil
}

func yields[V any](m *mirror, args ...any) iter.Seq2[V, error] {
	m.got = args
	return func(yield func(V, error) bool) { yield(filled[V](), nil) }
}

func (m *mirror) Overview(context.Context) (admin.Overview, error) { return gives[admin.Overview](m) }

func (m *mirror) Health(context.Context) (af.Health, error) { return gives[af.Health](m) }

func (m *mirror) Queues(context.Context) ([]af.QueueInfo, error) { return gives[[]af.QueueInfo](m) }

func (m *mirror) Tasks(_ context.Context, q af.TaskQuery) (af.TaskPage, error) {
	return gives[af.TaskPage](m, q)
}

func (m *mirror) Task(_ context.Context, id string) (admin.Task, error) {
	t, err := gives[admin.Task](m, id)
	t.Redacted = false
	return t, err
}

func (m *mirror) Tree(_ context.Context, q admin.TreeQuery) (admin.TreePage, error) {
	return gives[admin.TreePage](m, q)
}

func (m *mirror) Why(_ context.Context, id string) (admin.Explanation, error) {
	return gives[admin.Explanation](m, id)
}

func (m *mirror) History(_ context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error) {
	return gives[[]af.HistoryPoint](m, q)
}

func (m *mirror) Jobs(_ context.Context, q af.JobQuery) (af.JobPage, error) {
	return gives[af.JobPage](m, q)
}

func (m *mirror) Job(_ context.Context, id string) (af.Job, error) { return gives[af.Job](m, id) }

func (m *mirror) Fires(_ context.Context, q af.FireQuery) (af.FirePage, error) {
	return gives[af.FirePage](m, q)
}

func (m *mirror) Services(_ context.Context, q af.ServiceQuery) (af.ServicePage, error) {
	return gives[af.ServicePage](m, q)
}

func (m *mirror) Workers(_ context.Context, q af.WorkerQuery) (af.WorkerPage, error) {
	return gives[af.WorkerPage](m, q)
}

func (m *mirror) Instances(_ context.Context, q af.InstanceQuery) (af.InstancePage, error) {
	return gives[af.InstancePage](m, q)
}

func (m *mirror) Nodes(_ context.Context, q af.NodeQuery) (af.NodePage, error) {
	return gives[af.NodePage](m, q)
}

func (m *mirror) Audit(_ context.Context, q af.AuditQuery) (af.AuditPage, error) {
	return gives[af.AuditPage](m, q)
}

func (m *mirror) Logs(_ context.Context, id string) iter.Seq2[[]string, error] {
	return yields[[]string](m, id)
}

func (m *mirror) Watch(_ context.Context, q admin.WatchQuery) iter.Seq2[admin.Tick, error] {
	return yields[admin.Tick](m, q)
}

func (m *mirror) Submit(_ context.Context, s admin.Submission, a admin.Action) (admin.Submitted, error) {
	return gives[admin.Submitted](m, s, a)
}

func (m *mirror) Call(_ context.Context, c admin.Call, a admin.Action) (json.RawMessage, error) {
	return gives[json.RawMessage](m, c, a)
}

func (m *mirror) done(args ...any) error {
	m.got = args
	return nil
}

func (m *mirror) Stop(_ context.Context, id string, a admin.Action) error { return m.done(id, a) }

func (m *mirror) Retry(_ context.Context, r admin.Retry, a admin.Action) (string, error) {
	return gives[string](m, r, a)
}

func (m *mirror) Delete(_ context.Context, id string, a admin.Action) error { return m.done(id, a) }

func (m *mirror) RunNow(_ context.Context, id string, a admin.Action) error { return m.done(id, a) }

func (m *mirror) Reweigh(_ context.Context, id string, weight int, a admin.Action) error {
	return m.done(id, weight, a)
}

func (m *mirror) StopTasks(_ context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	return gives[admin.BulkResult](m, q, a)
}

func (m *mirror) RetryTasks(_ context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	return gives[admin.BulkResult](m, q, a)
}

func (m *mirror) DeleteTasks(_ context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	return gives[admin.BulkResult](m, q, a)
}

func (m *mirror) Pause(_ context.Context, queue string, a admin.Action) error {
	return m.done(queue, a)
}

func (m *mirror) Resume(_ context.Context, queue string, a admin.Action) error {
	return m.done(queue, a)
}

func (m *mirror) SetMax(_ context.Context, l admin.Limit, a admin.Action) error { return m.done(l, a) }

func (m *mirror) ResetMax(_ context.Context, queue, ip string, a admin.Action) error {
	return m.done(queue, ip, a)
}

func (m *mirror) PutJob(_ context.Context, j admin.Job, a admin.Action) error { return m.done(j, a) }

func (m *mirror) RemoveJob(_ context.Context, id string, a admin.Action) error { return m.done(id, a) }

func (m *mirror) EnableJob(_ context.Context, id string, a admin.Action) error { return m.done(id, a) }

func (m *mirror) DisableJob(_ context.Context, id string, a admin.Action) error { return m.done(id, a) }

func (m *mirror) RunJob(_ context.Context, id string, a admin.Action) (string, error) {
	return gives[string](m, id, a)
}

// filled returns a value in which no exported field is zero, at any depth.
func filled[T any]() T {
	var v T
	fill(reflect.ValueOf(&v).Elem())
	return v
}

func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 3, 29, 1, 30, 0, 123456789, time.UTC)))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`{"a":[1,"<b>"]}`)))
		return
	case af.Code:
		v.Set(reflect.ValueOf(af.ErrOutOfRange))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Skip" { // which is deprecated, and not sent
				fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("é \"<>&\u2028\n")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Uint8, reflect.Uint, reflect.Uint64:
		v.SetUint(250)
	default:
		v.SetInt(7)
	}
}

// Arguments reach the API, and its values the client, unchanged over HTTP: every field of every method.
func TestValuesOverHTTPAreTheSame(t *testing.T) {
	m := &mirror{}
	user := admin.User{Name: "anyone", Rights: admin.AllRights()}
	guarded := admin.Guard(m, user) // it replaces By, and sets User
	client, _ := serve(t, m, adminhttp.Options{Authorize: adminhttp.Anyone})
	iface := reflect.TypeFor[admin.API]()
	for i := range iface.NumMethod() {
		method := iface.Method(i)
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for k := 1; k < method.Type.NumIn(); k++ {
			arg := reflect.New(method.Type.In(k)).Elem()
			fill(arg)
			args = append(args, arg)
		}
		call := func(api admin.API) (result, received any) {
			out := reflect.ValueOf(api).MethodByName(method.Name).Call(args)
			if out[0].Kind() == reflect.Func {
				return collect(t, out[0]), m.got
			}
			if err, _ := out[len(out)-1].Interface().(error); err != nil {
				t.Errorf("%s: %v", method.Name, err)
			}
			if len(out) == 1 {
				return nil, m.got
			}
			return out[0].Interface(), m.got
		}
		want, wantArgs := call(guarded)
		m.got = nil
		got, gotArgs := call(client)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s over HTTP returns another value (- direct):\n%s", method.Name, cmp.Diff(want, got))
		}
		if !reflect.DeepEqual(gotArgs, wantArgs) {
			t.Errorf("%s over HTTP is called with other arguments (- direct):\n%s", method.Name, cmp.Diff(wantArgs, gotArgs))
		}
	}
}

// collect returns the first value of a stream.
func collect(t *testing.T, seq reflect.Value) (first any) {
	t.Helper()
	seq.Call([]reflect.Value{reflect.MakeFunc(seq.Type().In(0), func(in []reflect.Value) []reflect.Value {
		if err, _ := in[1].Interface().(error); err != nil {
			t.Error(err)
		}
		first = in[0].Interface()
		return []reflect.Value{reflect.ValueOf(false)}
	})})
	return first
}

// What a real system shows over HTTP is what it shows directly, such as empty lists and missing times.
func TestReadersOverHTTPAreTheSame(t *testing.T) {
	app := start(t)
	direct := admin.New(app)
	act := admin.Action{By: "ann"}
	one := 1
	for _, err := range []error{
		direct.PutJob(t.Context(), admin.Job{ID: "j", Cron: "@yearly", Queue: "numbers", Payload: []byte("1"), Retries: &one},
			act),
		direct.SetMax(t.Context(), admin.Limit{Queue: "numbers", Max: 1}, act),
		direct.Pause(t.Context(), "numbers", act),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	task := admin.Submission{Queue: "numbers", Payload: []byte("1"), ID: "a"}
	if _, err := direct.Submit(t.Context(), task, act); err != nil {
		t.Fatal(err)
	}
	client, _ := serve(t, direct, adminhttp.Options{Authorize: adminhttp.Anyone})
	guarded := admin.Guard(direct, admin.User{Name: "anyone", Rights: admin.AllRights()})
	iface := reflect.TypeFor[admin.Reader]()
	for i := range iface.NumMethod() {
		method := iface.Method(i)
		if method.Name == "Logs" || method.Name == "Watch" {
			continue // streams: see TestValuesOverHTTPAreTheSame
		}
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for k := 1; k < method.Type.NumIn(); k++ {
			arg := reflect.New(method.Type.In(k)).Elem()
			if arg.Kind() == reflect.String {
				arg.SetString(map[bool]string{true: "j", false: "a"}[method.Name == "Job"])
			} else if f := arg.FieldByName("ID"); method.Name == "Tree" {
				f.SetString("a")
			}
			args = append(args, arg)
		}
		call := func(api admin.API) any {
			out := reflect.ValueOf(api).MethodByName(method.Name).Call(args)
			if err, _ := out[1].Interface().(error); err != nil {
				t.Fatalf("%s: %v", method.Name, err)
			}
			return withoutPresent(t, out[0])
		}
		difference := "?"
		for range 20 { // between two calls, a minute may begin, or a heartbeat be stored
			before, over, after := call(guarded), call(client), call(guarded)
			if difference = cmp.Diff(after, over); difference == "" || reflect.DeepEqual(before, over) {
				difference = ""
				break
			}
		}
		if difference != "" {
			t.Errorf("%s over HTTP returns another value (- direct):\n%s", method.Name, difference)
		}
	}
}

// withoutPresent returns a value as its JSON has it, without times that are those of the call.
func withoutPresent(t *testing.T, v reflect.Value) any {
	t.Helper()
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	again := reflect.New(v.Type())
	if err := json.Unmarshal(raw, again.Interface()); err != nil {
		t.Fatal(err)
	}
	queues := func(list []af.QueueInfo) {
		for i := range list {
			list[i].Served = time.Time{}
		}
	}
	switch v := again.Interface().(type) {
	case *[]af.QueueInfo:
		queues(*v)
	case *admin.Overview:
		queues(v.Queues)
	case *admin.Explanation:
		v.At = time.Time{}
	case *admin.Task:
		v.Why.At = time.Time{}
	}
	return again.Elem().Interface()
}
