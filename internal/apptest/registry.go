package apptest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

type adder struct{}

type args struct{ X, Y int }

type sum struct{ Sum int }

var addMethod = af.Method[args, sum]{
	Service: "adder", Name: "Add", Signature: "(x int, y int) (sum int, err error)", Fingerprint: "f1", Timeout: patience,
	Doc: "Add adds two numbers.",
}

// adderDoc is longer than what is kept.
var adderDoc = "Adder adds. " + strings.Repeat("x", 2000)

func adds(add func(args) (sum, error)) func(*af.App) {
	return func(app *af.App) {
		af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 4, Doc: adderDoc}, &adder{},
			af.Bind(&addMethod, func(_ context.Context, _ *adder, a args) (sum, error) { return add(a) }))
	}
}

func services(w *world) {
	goOn, started := make(chan struct{}), make(chan struct{}, 1)
	first := w.open(adds(func(a args) (sum, error) {
		if a.X < 0 {
			return sum{}, af.ErrOutOfRange
		}
		if a.X == 0 {
			started <- struct{}{}
			<-goOn
		}
		return sum{a.X + a.Y}, nil
	}))
	client := w.open(works(same), af.IP("192.0.2.2"), af.Version("v2"))
	c := af.NewClient(client)
	must(addMethod.Call(w.Context(), c, args{1, 2}))(w)
	if _, err := addMethod.Call(w.Context(), c, args{-1, 2}); !errors.Is(err, af.ErrOutOfRange) {
		w.Error(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := addMethod.Call(w.Context(), c, args{0, 2})
		answered <- err
	}()
	<-started
	var s af.ServiceInfo
	w.within(patience, "the load is known", func() bool {
		page := must(client.Services(w.Context(), af.ServiceQuery{}))(w)
		if page.Total != 1 || len(page.Services) != 1 {
			w.Fatalf("services %+v", page)
		}
		s = page.Services[0]
		return s.Load == af.ServiceLoad{InFlight: 1, Calls: 3, Errors: 1}
	})
	want := []af.MethodInfo{{Name: "Add", Signature: addMethod.Signature, Fingerprint: "f1", Doc: addMethod.Doc}}
	if in := s.Instances[0]; s.Name != "adder" || len(s.Instances) != 1 ||
		in.ID != first.Instance().ID || in.IP != "192.0.2.1" ||
		in.Version != "v1" || in.Concurrency != 4 || in.Load != s.Load || in.Node == "" || in.Draining ||
		s.Doc != adderDoc[:1021]+"…" || !slices.Equal(s.Methods, want) || !slices.Equal(in.Methods, want) {
		w.Errorf("%+v", s)
	}
	close(goOn)
	w.must(<-answered)
	if page := must(client.Services(w.Context(), af.ServiceQuery{Version: "v2"}))(w); page.Total != 0 ||
		page.Services == nil {
		w.Errorf("services of another version: %+v", page)
	}
	second := w.open(adds(func(a args) (sum, error) { return sum{}, nil }), af.IP("192.0.2.3"))
	//lint:ignore SA1019 Skip must keep working
	byIP := af.InstanceQuery{Service: "adder", Sort: af.InstancesByIP, Skip: 1, Limit: 1}
	page := must(client.Instances(w.Context(), byIP))(w)
	if page.Total != 2 || len(page.Instances) != 1 || page.Instances[0].ID != second.Instance().ID {
		w.Errorf("the second of the instances: %+v", page)
	}
	if page := must(client.Instances(w.Context(), af.InstanceQuery{Queue: "job"}))(w); page.Total != 1 ||
		page.Instances[0].ID != client.Instance().ID || !slices.Equal(page.Instances[0].Queues, []string{"job"}) {
		w.Errorf("instances with a worker: %+v", page)
	}
	if _, err := client.Instances(w.Context(), af.InstanceQuery{Sort: "odd"}); !errors.Is(err, af.ErrInvalidArgument) {
		w.Errorf("an odd order: %v", err)
	}
	w.close(first)
	if page := must(client.Services(w.Context(), af.ServiceQuery{Name: "adder"}))(w); page.Total != 1 ||
		len(page.Services[0].Instances) != 1 {
		w.Errorf("after a shutdown: %+v", page)
	}
	w.close(second)
	if page := must(client.Services(w.Context(), af.ServiceQuery{Name: "adder"}))(w); page.Total != 0 {
		w.Errorf("after both shutdowns: %+v", page)
	}
}

// deadInstance announces an instance that then falls silent, as if its process had been killed.
func deadInstance(w *world) {
	client := w.open(nil)
	ports, err := w.backend.Open(w.Context(),
		backend.Env{Instance: af.Instance{ID: "ghost", IP: "192.0.2.9"}, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	defer func() { w.must(ports.Close(context.Background())) }()
	w.must(ports.Store.Beat(w.Context(), "ghost-1l3000", 1)) // its lease is 3 s
	w.must(ports.Coordinator.Announce(w.Context(), "instance", "ghost",
		json.RawMessage(`{"ip":"192.0.2.9","node":"n","host":"h"}`)))
	there := func() bool {
		return must(client.Instances(w.Context(), af.InstanceQuery{ID: "ghost"}))(w).Total == 1
	}
	if !there() {
		w.Fatal("it isn't listed")
	}
	w.within(12*time.Second, "it disappears before its announcements", func() bool { return !there() })
}

func nodes(w *world) {
	first, second := w.open(nil), w.open(nil, af.IP("192.0.2.2"))
	var n af.Node
	w.within(patience, "the node has reported", func() bool {
		page := must(first.Nodes(w.Context(), af.NodeQuery{}))(w)
		if page.Total != 1 {
			w.Fatalf("nodes %+v", page)
		}
		n = page.Nodes[0]
		return n.MemoryTotal > 0
	})
	ids := []string{first.Instance().ID, second.Instance().ID}
	slices.Sort(ids)
	if n.ID == "" || n.Host == "" || n.OS == "" || n.Platform == "" || n.Kernel == "" || n.Arch == "" || n.CPUs < 1 ||
		n.MemoryUsed == 0 || n.DiskTotal == 0 || n.Time.IsZero() || !slices.Contains(n.IPs, "192.0.2.1") ||
		!slices.Contains(n.IPs, "192.0.2.2") ||
		!slices.Equal(n.Instances, ids) {
		w.Errorf("%+v", n)
	}
	w.within(patience, "there is a history", func() bool {
		return len(must(second.NodeHistory(w.Context(), n.ID))(w)) > 0
	})
	if _, err := first.NodeHistory(w.Context(), "nosuch"); !errors.Is(err, af.ErrNotFound) {
		w.Errorf("history of a missing node: %v", err)
	}
	if page := must(first.Nodes(w.Context(), af.NodeQuery{Host: "nosuch"}))(w); page.Total != 0 || page.Nodes == nil {
		w.Errorf("%+v", page)
	}
	if page := must(first.Nodes(w.Context(),
		af.NodeQuery{IP: "192.0.2.2", OS: n.OS, Sort: af.NodesByLoad}))(w); page.Total != 1 {
		w.Errorf("%+v", page)
	}
}

func requireWorker(w *world) {
	client := w.open(nil, af.IP("192.0.2.2"))
	q := af.NewQueue[int, int](client, jobWorker)
	submit := func() error {
		_, err := q.Submit(w.Context(), 1, af.RequireWorker())
		return err
	}
	if err := submit(); !errors.Is(err, af.ErrFailedPrecondition) {
		w.Errorf("before there is a worker: %v", err)
	}
	worker := w.open(works(same))
	if err := submit(); err != nil {
		w.Errorf("right after the start of one: %v", err)
	}
	w.close(worker)
	if err := submit(); !errors.Is(err, af.ErrFailedPrecondition) {
		w.Errorf("right after its end: %v", err)
	}
}
