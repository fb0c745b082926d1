package timing_test

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/recorder"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/timing"
)

func hooksOf(all ...instrument.Instrumentation) *hooks.Set {
	h := hooks.New(all)
	h.Own("app", slog.New(slog.DiscardHandler))
	return h
}

func open(t *testing.T, b backend.Backend) *backend.Ports {
	t.Helper()
	p, err := b.Open(t.Context(),
		backend.Env{Instance: backend.Instance{ID: "app"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// optional has the optional interfaces of ports.
type optional struct {
	backend.Store
	backend.Transport
}

func (optional) Dead(context.Context, []string) ([]string, error)   { return nil, nil }
func (optional) Deaths() <-chan struct{}                            { return nil }
func (optional) Absent(context.Context, []string) ([]string, error) { return nil, nil }
func (optional) Visible() (time.Time, <-chan struct{})              { return time.Time{}, nil }

type optionalStore struct {
	backend.Store
	backend.ProcessWatcher
}

type optionalTransport struct {
	backend.Transport
	backend.ConnectionChecker
}

// notObserved are the methods that only wait or tell what is known.
var notObserved = []string{"Transport.Ids", "Transport.Receive", "Transport.State", "Listener.Next",
	"Coordinator.Subscribe", "ProcessWatcher.Deaths", "ConnectionChecker.Visible"}

// Every method of every port is observed, under its own name, or is listed above.
func TestEveryMethodIsObserved(t *testing.T) {
	p := *open(t, memory.New())
	p.Store = optionalStore{p.Store, optional{}}
	p.Transport = optionalTransport{p.Transport, optional{}}
	rec := &recorder.Recorder{}
	timed := timing.Ports(&p, hooksOf(rec))
	l, err := timed.Transport.Listen(t.Context(), "q", 1)
	if err != nil {
		t.Fatal(err)
	}
	observed := map[string]bool{}
	for _, port := range []struct {
		name   string
		of     reflect.Type
		value  any
		events string
	}{
		{"Store", reflect.TypeFor[backend.Store](), timed.Store, "store"},
		{"ProcessWatcher", reflect.TypeFor[backend.ProcessWatcher](), timed.Store, "store"},
		{"Docs", reflect.TypeFor[backend.Docs](), timed.Docs, "docs"},
		{"Transport", reflect.TypeFor[backend.Transport](), timed.Transport, "transport"},
		{"ConnectionChecker", reflect.TypeFor[backend.ConnectionChecker](), timed.Transport, "transport"},
		{"Listener", reflect.TypeFor[backend.Listener](), l, "transport"},
		{"Coordinator", reflect.TypeFor[backend.Coordinator](), timed.Coordinator, "coordinator"},
	} {
		for m := range port.of.Methods() {
			before := len(rec.Events(instrument.Requested))
			call(reflect.ValueOf(port.value).MethodByName(m.Name))
			events := rec.Events(instrument.Requested)[before:]
			if slices.Contains(notObserved, port.name+"."+m.Name) {
				if len(events) > 0 {
					t.Errorf("%s.%s is observed: %+v", port.name, m.Name, events)
				}
				continue
			}
			op := strings.ToLower(regexp.MustCompile(`(.)([A-Z])`).ReplaceAllString(m.Name, "${1}_$2"))
			if len(events) != 1 || events[0].Port != port.events || events[0].Op != op {
				t.Errorf("%s.%s: events %+v, want one of op %s", port.name, m.Name, events, op)
			}
			if observed[port.events+op] {
				t.Errorf("two methods are op %s of port %s", op, port.events)
			}
			observed[port.events+op] = true
		}
	}
	if len(observed) < 40 {
		t.Errorf("only %d methods are observed", len(observed))
	}
}

// call calls a method with zero arguments and a context that has ended, which all methods accept.
func call(method reflect.Value) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var args []reflect.Value
	for i := range method.Type().NumIn() {
		switch in := method.Type().In(i); {
		case in == reflect.TypeFor[context.Context]():
			args = append(args, reflect.ValueOf(ctx))
		case in.Kind() == reflect.Func:
			args = append(args, reflect.MakeFunc(in, func([]reflect.Value) []reflect.Value { return nil }))
		default:
			args = append(args, reflect.Zero(in))
		}
	}
	method.Call(args)
}

// connected is a transport with the optional interface.
type connected struct{ backend.Transport }

func (connected) Absent(context.Context, []string) ([]string, error) { return nil, nil }
func (connected) Visible() (time.Time, <-chan struct{})              { return time.Time{}, nil }

// A wrapped port has the optional interfaces of the original and no others. Package auto tests the other adapters.
func TestOptionalInterfacesAreKept(t *testing.T) {
	ports := []*backend.Ports{open(t, memory.New()), open(t, embedded.File(filepath.Join(t.TempDir(), "af.db"))),
		{Name: "connected", Transport: connected{}}}
	with := map[string]bool{}
	for _, p := range ports {
		timed := timing.Ports(p, hooksOf(instrument.NoInstrument{}))
		for name, of := range optionals {
			for _, port := range [][2]any{{p.Store, timed.Store}, {p.Docs, timed.Docs}, {p.Transport, timed.Transport},
				{p.Coordinator, timed.Coordinator}} {
				if (port[0] == nil) != (port[1] == nil) {
					t.Errorf("%s: %T is wrapped as %T", p.Name, port[0], port[1])
				}
				if port[0] == nil {
					continue
				}
				had, has := reflect.TypeOf(port[0]).Implements(of), reflect.TypeOf(port[1]).Implements(of)
				if had != has {
					t.Errorf("%s: %T is a %s: %v, wrapped: %v", p.Name, port[0], name, had, has)
				}
				with[name] = with[name] || had
			}
		}
	}
	for name := range optionals {
		if !with[name] {
			t.Errorf("no adapter has a %s", name)
		}
	}
}

// optionals are the optional interfaces of ports.
var optionals = map[string]reflect.Type{
	"ProcessWatcher":    reflect.TypeFor[backend.ProcessWatcher](),
	"ConnectionChecker": reflect.TypeFor[backend.ConnectionChecker](),
}

// The runtime discovers no other optional interfaces of ports: none are declared, and none are asserted.
func TestOptionalInterfacesAreKnown(t *testing.T) {
	root := filepath.Join("..", "..")
	found, interfaces := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GenDecl:
				for _, spec := range n.Specs {
					s, ok := spec.(*ast.TypeSpec)
					if !ok || filepath.Dir(path) != filepath.Join(root, "backend") {
						continue
					}
					if _, ok := s.Type.(*ast.InterfaceType); !ok {
						continue
					}
					interfaces[s.Name.Name] = true
					if strings.Contains(strings.ReplaceAll(n.Doc.Text(), "\n", " "), "optional interface") {
						found[s.Name.Name] = true
					}
				}
			case *ast.TypeAssertExpr:
				if s, ok := n.Type.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "backend" && s.Sel.Name != "Configured" {
						found[s.Sel.Name] = true
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range found {
		if interfaces[name] && optionals[name] == nil {
			t.Errorf("%s is asserted or declared as an optional interface: wrap it, and list it in optionals", name)
		}
	}
	for name := range optionals {
		if !found[name] {
			t.Errorf("%s is not an optional interface", name)
		}
	}
}

// slow is a Docs whose Get takes a second, and fails if there is no such document.
type slow struct{ backend.Docs }

func (s slow) Get(ctx context.Context, name string) (backend.Doc, error) {
	time.Sleep(time.Second)
	return s.Docs.Get(ctx, name)
}

func TestEvent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := *open(t, memory.New())
		p.Docs = slow{p.Docs}
		rec := &recorder.Recorder{}
		d := timing.Ports(&p, hooksOf(rec)).Docs
		if _, err := d.PutIf(t.Context(), "a", 0, json.RawMessage(`1`)); err != nil {
			t.Fatal(err)
		}
		if doc, err := d.Get(t.Context(), "a"); err != nil || string(doc.Value) != "1" {
			t.Errorf("%+v, %v", doc, err)
		}
		if _, err := d.Get(t.Context(), "b"); !errors.Is(err, backend.ErrNotFound) {
			t.Error(err)
		}
		want := []instrument.Event{
			{Kind: instrument.Requested, Instance: "app", Port: "docs", Op: "put_if"},
			{Kind: instrument.Requested, Instance: "app", Port: "docs", Op: "get", Duration: time.Second},
			{Kind: instrument.Requested, Instance: "app", Port: "docs", Op: "get", Code: backend.ErrNotFound,
				Duration: time.Second},
		}
		if got := rec.Events(instrument.Requested); !reflect.DeepEqual(got, want) {
			t.Errorf("events\n%+v, want\n%+v", got, want)
		}
	})
}

// Without instruments the ports are the backend's own.
func TestWithoutInstruments(t *testing.T) {
	p := open(t, memory.New())
	if timing.Ports(p, hooks.New(nil)) != p {
		t.Error("the ports are wrapped")
	}
}

// none is a Store whose Get does nothing.
type none struct{ backend.Store }

func (none) Get(context.Context, string) (backend.Task, error) { return backend.Task{}, nil }

// With an empty instrument a request allocates no more.
func TestEmptyAllocatesNothing(t *testing.T) {
	s := timing.Ports(&backend.Ports{Store: none{}}, hooksOf(instrument.NoInstrument{})).Store
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.Get(ctx, "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
