package dashboard_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/dashboard"
)

// fleet is a system with two machines, instances of two versions, and trouble.
type fleet struct {
	admin.API
	empty bool
}

func (f *fleet) Health(context.Context) (af.Health, error) {
	if f.empty {
		return af.Health{}, nil
	}
	return af.Health{Conditions: []af.Condition{{Name: "rabbitmq", Cause: evil, Works: "tasks", Lost: "calls"}}}, nil
}

func (f *fleet) History(context.Context, af.HistoryQuery) ([]af.HistoryPoint, error) {
	if f.empty {
		return nil, nil
	}
	return []af.HistoryPoint{{Lost: 1}, {Lost: 2}}, nil
}

func (f *fleet) Nodes(_ context.Context, q af.NodeQuery) (af.NodePage, error) {
	if f.empty {
		return af.NodePage{}, nil
	}
	gone := func(id string, ago time.Duration) af.Node {
		return af.Node{ID: id, Host: id + evil, IPs: []string{"10.0.0.9", evil},
			NodeSample: af.NodeSample{Time: time.Now().Add(-ago)}}
	}
	if q.Gone {
		here := gone("gamma", time.Minute)
		here.Instances = []string{"one"}
		return af.NodePage{Nodes: []af.Node{here, gone("delta", 150*time.Second), gone("epsilon", 2*time.Hour),
			{ID: "zeta"}}}, nil
	}
	n := af.Node{ID: "a", Host: "alpha" + evil, IPs: []string{"10.0.0.1"}, OS: "linux", Arch: "amd64", Platform: "debian",
		CPUs: 4, MemoryTotal: 16 << 30, DiskTotal: 100 << 30}
	n.NodeSample = af.NodeSample{Time: time.Now(), CPU: 0.425, Load1: 1.5, MemoryUsed: 15<<30 + 512<<20, DiskUsed: 25 << 30}
	return af.NodePage{Nodes: []af.Node{n, {ID: "b", Host: "beta"}}, Total: 2, Cursor: "more"}, nil
}

func (f *fleet) Instances(context.Context, af.InstanceQuery) (af.InstancePage, error) {
	if f.empty {
		return af.InstancePage{}, nil
	}
	info := func(id, node, version string) af.InstanceInfo {
		return af.InstanceInfo{Instance: af.Instance{ID: id, IP: "10.0.0.1", Version: version}, Node: node}
	}
	one := info("one", "a", "v1")
	one.Queues = []string{"q1", "q2", "q3", "q4", "q5", evil}
	two := info("two", "a", "v2")
	two.Degraded = []string{"not-claiming: no heartbeat is accepted"}
	lost := info("lost", "nowhere", "v2")
	lost.IP, lost.Services = evil, []string{evil}
	return af.InstancePage{Instances: []af.InstanceInfo{one, two, lost}, Total: 3}, nil
}

func (f *fleet) Workers(context.Context, af.WorkerQuery) (af.WorkerPage, error) {
	if f.empty {
		return af.WorkerPage{}, nil
	}
	return af.WorkerPage{Workers: []af.WorkerInfo{{Queue: `<b>"odd"/queue`, Instance: af.Instance{ID: "one"}, Wanted: 7,
		Applied: 3, Own: 9, Refusal: evil}}}, nil
}

func TestMachines(t *testing.T) {
	_, page, _ := get(t, dashboard.HandlerOf(&fleet{empty: true}, everything), "/machines")
	contains(t, "empty", page, "No instance is running", "No instance runs a worker")
	_, page, _ = get(t, dashboard.HandlerOf(&fleet{}, as(admin.ReadOnly()...)), "/machines")
	contains(t, "machines", page, "alpha", "42 % of 4 CPUs, load 1.5", "15.5 GiB of 16.0 GiB", "nearly full",
		"25.0 GiB of 100 GiB", "2 versions run", "<b>rabbitmq</b> is down", "Does not work: calls",
		"not-claiming: no heartbeat is accepted", "Instances without a machine", "q1, q2, q3, q4 and 2 more", "more machines",
		`<td class="r" data-l="wanted">7</td><td class="r" data-l="applied"><span class="s-warn">still 3</span></td>`,
		`<td class="r" data-l="own maximum">9</td>`)
	_, rest, _ := strings.Cut(page, `id="gone"`)
	rest, _, _ = strings.Cut(rest, "</section>")
	contains(t, "gone", rest, "delta", "10.0.0.9", "2 min ago", "3 attempts were lost")
	for _, name := range []string{"alpha", "beta", "gamma", "epsilon", "zeta"} {
		if strings.Contains(rest, name) {
			t.Errorf("%s is shown as gone", name)
		}
	}
	check(t, "machines", page)
	app, _ := start(t)
	_, page, _ = get(t, dashboard.Handler(app, everything), "/machines")
	contains(t, "real", page, "things", "All instances run")
	if strings.Contains(page, `id="gone"`) {
		t.Error("nothing is gone")
	}
}

// A part that can't be read is told in words, and the rest is shown.
func TestMachinesPartly(t *testing.T) {
	h := dashboard.HandlerOf(&broken{}, everything)
	status, page, _ := get(t, h, "/machines")
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	contains(t, "machines", page, "The machines could not be read: no store", "The workers could not be read",
		"The health could not be read", "The history could not be read", "Instances without a machine", "two")
}

// broken is a fleet whose store answers little.
type broken struct{ fleet }

func (*broken) Health(context.Context) (af.Health, error) {
	return af.Health{}, af.NewError(af.ErrUnavailable, "no store")
}

func (*broken) History(context.Context, af.HistoryQuery) ([]af.HistoryPoint, error) {
	return nil, af.NewError(af.ErrUnavailable, "no store")
}

func (*broken) Nodes(context.Context, af.NodeQuery) (af.NodePage, error) {
	return af.NodePage{}, af.NewError(af.ErrUnavailable, "no store")
}

func (*broken) Workers(context.Context, af.WorkerQuery) (af.WorkerPage, error) {
	return af.WorkerPage{}, af.NewError(af.ErrUnavailable, "no store")
}

func TestAudit(t *testing.T) {
	app, q := start(t)
	_, page, _ := get(t, dashboard.Handler(app, everything), "/audit")
	contains(t, "empty", page, "No changes yet")
	for range 120 {
		if err := app.PauseQueue(t.Context(), "things", af.By("bob")); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.ResumeQueue(t.Context(), "things", af.By(evil), af.Reason(evil)); err != nil {
		t.Fatal(err)
	}
	id := run(t, app, q, "fail", af.TaskID("a/b"))
	if _, err := app.RetryTask(t.Context(), id, af.By("cy")); err != nil {
		t.Fatal(err)
	}
	if err := app.StopTask(t.Context(), "missing", af.By("cy")); err == nil {
		t.Fatal("stopped a missing task")
	}
	h := dashboard.Handler(app, as(admin.Read), dashboard.Prefix("/ops"))
	_, page, _ = get(t, h, "/ops/audit")
	contains(t, "audit", page, "task.retry", "queue.resume", `href="/ops/tasks/a%2Fb"`, `rel="next"`, "Failed: ",
		`href="/ops/queues/things"`)
	check(t, "audit", page)
	_, page, _ = get(t, h, "/ops/audit?by=bob&action=queue.pause&target=things")
	contains(t, "bob", page, "queue.pause", `value="bob"`, "by=bob")
	if strings.Contains(page, "<td>task.retry") {
		t.Error("the filter does not restrict")
	}
	_, rest, _ := strings.Cut(page, `href="/ops/audit?action=`)
	next, _, _ := strings.Cut(rest, `"`)
	status, page, _ := get(t, h, "/ops/audit?action="+strings.ReplaceAll(next, "&amp;", "&"))
	if n := strings.Count(page, "<tr data-key"); status != 200 || n != 20 {
		t.Errorf("second page: %d, %d entries", status, n)
	}
	contains(t, "second page", page, "First page")
	_, page, _ = get(t, h, "/ops/audit?by="+url.QueryEscape(evil))
	contains(t, "hostile", page, "queue.resume")
	check(t, "hostile", typed.ReplaceAllString(page, ""))
	_, page, _ = get(t, h, "/ops/audit?by=none")
	contains(t, "none", page, "No change matches")
}

func TestSubmit(t *testing.T) {
	app, _ := start(t)
	reader := dashboard.Handler(app, as(admin.Read, admin.Operate, admin.Configure))
	if status, page, _ := post(t, reader, "/queues/things/submit", nil); status != http.StatusForbidden {
		t.Errorf("without the right: %d %s", status, page)
	}
	if _, page, _ := get(t, reader, "/queues/things"); strings.Contains(page, "Submit") {
		t.Error("the form is offered without the right")
	}
	h := dashboard.Handler(app, as(admin.AllRights()...), dashboard.Prefix("/ops"))
	_, page, _ := get(t, h, "/ops/queues/things")
	contains(t, "queue", page, `action="/ops/queues/things/submit"`)
	form := url.Values{"payload": {`{"n": 1}`}, "weight": {"5"}, "delay": {"1h"}, "reason": {"try"}}
	status, page, header := post(t, h, "/ops/queues/things/submit", form)
	id := strings.TrimSuffix(strings.TrimPrefix(header.Get("Location"), "/ops/tasks/"), "?done=submit")
	task, err := admin.New(app).Task(t.Context(), id)
	if err != nil || status != http.StatusSeeOther || task.Weight != 5 || time.Until(task.RunAt) < 50*time.Minute {
		t.Errorf("%d %s: %+v, %v", status, page, task, err)
	}
	for name, change := range map[string][2]string{"payload": {"{", "JSON"}, "weight": {"x", "whole number"},
		"delay": {"soon", "duration"}} {
		bad := url.Values{"payload": {"1"}, "weight": {"1"}}
		bad.Set(name, change[0])
		status, page, _ := post(t, h, "/ops/queues/things/submit", bad)
		if status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, status)
		}
		contains(t, name, page, change[1], "/ops/queues/things")
	}
}
