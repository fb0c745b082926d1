package runtime

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/pages"
	"github.com/afgen/afgen/runtime/internal/presence"
)

// A MethodInfo describes a method of a service: see [ServiceInfo]. Its fields:
//
//	Name        string // such as Add
//	Signature   string // its parameters and results with their Go types
//	Fingerprint string // of its contract: differs if the two sides of a call may not understand each other
//	Idempotent  bool   // it may be called again if the outcome of a call is unknown
type MethodInfo = backend.MethodInfo

// An InstanceInfo is a running App as the registry knows it. All that is said there is a second old at most while the
// instance lives. One whose process has died is gone once its owner is convicted: at once on the embedded backend, within
// [Lease] and a few seconds on others, and at once after a Shutdown.
type InstanceInfo struct {
	Instance
	Node     string    // the machine's id: see [App.Nodes]
	Host     string    // the machine's name
	PID      int       // of the process
	Started  time.Time // by the instance's clock
	Draining bool      // it takes no more calls and tasks
	Services []string  // sorted
	Queues   []string  // sorted
}

// A ServiceInfo is a service and the instances that serve it: at least one.
type ServiceInfo struct {
	Name      string
	Methods   []MethodInfo      // of the instance that was started last
	Instances []ServiceInstance // by id
	Load      ServiceLoad       // of all instances
}

// A ServiceInstance is a service as one instance serves it.
type ServiceInstance struct {
	Instance
	Node        string
	Started     time.Time    // by the instance's clock
	Draining    bool         // it takes no more calls
	Concurrency int          // calls at once
	Contract    string       // the same for all instances with the same methods
	Methods     []MethodInfo // by name. It must not be changed
	Load        ServiceLoad
}

// A ServiceLoad counts calls, since the instance was started.
type ServiceLoad struct {
	InFlight int64
	Calls    int64 // begun
	Errors   int64 // that the handler answered with an error
}

// A WorkerInfo is a queue's worker at one instance.
type WorkerInfo struct {
	Queue    string
	Instance Instance
	Node     string
	Draining bool // it claims nothing more, since its App is shutting down

	Paused          bool  // the queue is
	Wanted          int   // tasks at once as is wanted; 0 while the queue is paused
	WantedRevision  int64 // of the queue's Limits
	Applied         int   // tasks at once as the instance keeps to
	AppliedRevision int64 // of the Limits that those were
	Running         int   // tasks; above Applied after it was lowered, until they end
	Abandoned       int   // of Running: handlers that ignored the end of their contexts; each keeps its slot until it returns
	Waiting         int   // tasks of the queue that no instance has begun: waiting, pending, retrying
}

// An InstanceQuery selects instances; zero fields don't restrict.
type InstanceQuery struct {
	ID, IP, Version, Node string
	Service               string // they serve it
	Queue                 string // they have its worker
	Sort                  InstanceSort
	Limit                 int    // of the page, 1 to 1000; 0 is 100
	Cursor                string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is a number of instances to leave out after the cursor. Some are missed or listed twice if others come or go.
	//
	// Deprecated: use Cursor.
	Skip int
}

// An InstanceSort is an order of instances; ids break ties.
type InstanceSort string

// The orders of instances.
const (
	InstancesByID      InstanceSort = ""
	InstancesByStart   InstanceSort = "started" // the latest first
	InstancesByIP      InstanceSort = "ip"
	InstancesByVersion InstanceSort = "version"
)

// An InstancePage is one page of instances.
type InstancePage struct {
	Instances []InstanceInfo
	Total     int    // of all pages
	Cursor    string // for InstanceQuery.Cursor, to get the next page; "" on the last page
}

// A ServiceQuery selects services by their instances, of which only those that match are listed; zero fields don't
// restrict.
type ServiceQuery struct {
	Name              string
	IP, Version, Node string
	Sort              ServiceSort
	Limit             int    // of the page, 1 to 1000; 0 is 100
	Cursor            string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is a number of services to leave out after the cursor. Some are missed or listed twice if others come or go.
	//
	// Deprecated: use Cursor.
	Skip int
}

// A ServiceSort is an order of services; names break ties.
type ServiceSort string

// The orders of services.
const (
	ServicesByName      ServiceSort = ""
	ServicesByLoad      ServiceSort = "load"      // most calls in flight first
	ServicesByInstances ServiceSort = "instances" // most instances first
)

// A ServicePage is one page of services.
type ServicePage struct {
	Services []ServiceInfo
	Total    int    // of all pages
	Cursor   string // for ServiceQuery.Cursor, to get the next page; "" on the last page
}

// A WorkerQuery selects workers; zero fields don't restrict.
type WorkerQuery struct {
	Queue, IP, Instance, Node string
	Sort                      WorkerSort
	Limit                     int    // of the page, 1 to 1000; 0 is 100
	Cursor                    string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is a number of workers to leave out after the cursor. Some are missed or listed twice if others come or go.
	//
	// Deprecated: use Cursor.
	Skip int
}

// A WorkerSort is an order of workers; queues and then instances break ties.
type WorkerSort string

// The orders of workers.
const (
	WorkersByQueue   WorkerSort = ""
	WorkersByIP      WorkerSort = "ip"
	WorkersByRunning WorkerSort = "running" // most tasks running first
)

// A WorkerPage is one page of workers.
type WorkerPage struct {
	Workers []WorkerInfo
	Total   int    // of all pages
	Cursor  string // for WorkerQuery.Cursor, to get the next page; "" on the last page
}

// Instances lists the Apps that run now and match q. It is unavailable while the coordinator is.
func (a *App) Instances(ctx context.Context, q InstanceQuery) (InstancePage, error) {
	all, _, err := a.present(ctx)
	if err != nil {
		return InstancePage{}, err
	}
	var found []InstanceInfo
	for id, n := range all {
		in := InstanceInfo{
			Instance: n.instance(id), Node: n.Node, Host: n.Host, PID: n.PID, Started: n.Started, Draining: n.Draining,
			Services: []string{}, Queues: []string{},
		}
		for _, s := range n.Services {
			in.Services = append(in.Services, s.Name)
		}
		for _, w := range n.Workers {
			in.Queues = append(in.Queues, w.Queue)
		}
		slices.Sort(in.Services)
		if matches(q.ID, id) && n.matches(q.IP, q.Version, q.Node) && (q.Service == "" || slices.Contains(in.Services, q.Service)) &&
			(q.Queue == "" || slices.Contains(in.Queues, q.Queue)) {
			found = append(found, in)
		}
	}
	page := InstancePage{Total: len(found)}
	key := map[InstanceSort]func(InstanceInfo) string{
		InstancesByID:      func(n InstanceInfo) string { return n.ID },
		InstancesByStart:   func(n InstanceInfo) string { return pages.Latest(n.Started) + n.ID },
		InstancesByIP:      func(n InstanceInfo) string { return pages.Text(n.IP) + n.ID },
		InstancesByVersion: func(n InstanceInfo) string { return pages.Text(n.Version) + n.ID },
	}[q.Sort]
	page.Instances, page.Cursor, err = pages.Of(found, pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}, key)
	return page, err
}

// Services lists the services that some instance serves now and that match q. It is unavailable while the coordinator is.
func (a *App) Services(ctx context.Context, q ServiceQuery) (ServicePage, error) {
	all, c, err := a.present(ctx)
	if err != nil {
		return ServicePage{}, err
	}
	byName := map[string]*ServiceInfo{}
	for id, n := range all {
		for _, s := range n.Services {
			if !matches(q.Name, s.Name) || !n.matches(q.IP, q.Version, q.Node) {
				continue
			}
			info := byName[s.Name]
			if info == nil {
				info = &ServiceInfo{Name: s.Name}
				byName[s.Name] = info
			}
			info.Instances = append(info.Instances, ServiceInstance{
				Instance: n.instance(id), Node: n.Node, Started: n.Started, Draining: n.Draining, Concurrency: s.Concurrency,
				Contract: s.Contract, Load: ServiceLoad{s.InFlight, s.Calls, s.Errors},
			})
			info.Load.InFlight += s.InFlight
			info.Load.Calls += s.Calls
			info.Load.Errors += s.Errors
		}
	}
	found := make([]ServiceInfo, 0, len(byName))
	for _, s := range byName {
		slices.SortFunc(s.Instances, func(a, b ServiceInstance) int { return strings.Compare(a.ID, b.ID) })
		found = append(found, *s)
	}
	page := ServicePage{Total: len(found)}
	key := map[ServiceSort]func(ServiceInfo) string{
		ServicesByName:      func(s ServiceInfo) string { return s.Name },
		ServicesByLoad:      func(s ServiceInfo) string { return pages.Most(s.Load.InFlight) + s.Name },
		ServicesByInstances: func(s ServiceInfo) string { return pages.Most(len(s.Instances)) + s.Name },
	}[q.Sort]
	page.Services, page.Cursor, err = pages.Of(found, pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}, key)
	if err == nil {
		err = c.registry.describe(ctx, page.Services)
	}
	return page, err
}

// describe reads the methods of services. Those of a contract that is not stored (yet, or again) are left empty.
func (r *registry) describe(ctx context.Context, services []ServiceInfo) error {
	known := map[string][]MethodInfo{}
	for i := range services {
		s := &services[i]
		newest := &s.Instances[0]
		for j := range s.Instances {
			in := &s.Instances[j]
			name := s.Name + "/" + in.Contract
			methods, ok := known[name]
			if !ok {
				var err error
				if methods, err = r.methods(ctx, s.Name, in.Contract); err != nil {
					return err
				}
				known[name] = methods
			}
			if in.Methods = methods; in.Started.After(newest.Started) {
				newest = in
			}
		}
		s.Methods = newest.Methods
	}
	return nil
}

// methods returns the methods of a contract.
func (r *registry) methods(ctx context.Context, service, hash string) ([]MethodInfo, error) {
	c, err := r.contract(ctx, service, hash)
	if err != nil {
		return nil, err
	}
	return presence.MethodsOf(service, hash, c)
}

// contract returns a contract; an empty one if it is not stored (yet, or again).
func (r *registry) contract(ctx context.Context, service, hash string) (presence.Contract, error) {
	for _, s := range r.core.app.served {
		if s.server.name == service && s.contract == hash {
			return presence.Contract{Methods: s.methods, Args: s.args}, nil
		}
	}
	return r.contracts.Get(ctx, service, hash)
}

// Workers lists the workers that run now and match q, one for each queue and instance: how many tasks they may run, as is
// wanted and as they keep to, and how many they do. It is unavailable while the coordinator is.
func (a *App) Workers(ctx context.Context, q WorkerQuery) (WorkerPage, error) {
	all, c, err := a.present(ctx)
	if err != nil {
		return WorkerPage{}, err
	}
	limits, err := c.allLimits(ctx)
	if err != nil {
		return WorkerPage{}, err
	}
	var found []WorkerInfo
	for id, n := range all {
		for _, w := range n.Workers {
			if !matches(q.Queue, w.Queue) || !matches(q.Instance, id) || !n.matches(q.IP, "", q.Node) {
				continue
			}
			l := limits[w.Queue].at(n.IP, w.Own)
			found = append(found, WorkerInfo{
				Queue: w.Queue, Instance: n.instance(id), Node: n.Node, Draining: n.Draining,
				Paused: l.Paused, Wanted: l.Slots(), WantedRevision: l.Revision,
				Applied: w.Applied, AppliedRevision: w.Revision, Running: w.Running, Abandoned: w.Abandoned,
			})
		}
	}
	id := func(w WorkerInfo) string { return pages.Text(w.Queue) + w.Instance.ID }
	page := WorkerPage{Total: len(found)}
	key := map[WorkerSort]func(WorkerInfo) string{
		WorkersByQueue:   id,
		WorkersByIP:      func(w WorkerInfo) string { return pages.Text(w.Instance.IP) + id(w) },
		WorkersByRunning: func(w WorkerInfo) string { return pages.Most(w.Running) + id(w) },
	}[q.Sort]
	page.Workers, page.Cursor, err = pages.Of(found, pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}, key)
	waiting := map[string]int{}
	for i := range page.Workers {
		queue := page.Workers[i].Queue
		if _, ok := waiting[queue]; !ok && err == nil {
			waiting[queue], err = c.waiting(ctx, queue)
		}
		page.Workers[i].Waiting = waiting[queue]
	}
	return page, err
}

// waiting counts the tasks of a queue that have not begun.
func (c *core) waiting(ctx context.Context, queue string) (int, error) {
	page, err := c.store.List(ctx, backend.TaskQuery{
		Queue: queue, Statuses: []Status{StatusWaiting, StatusPending, StatusRetrying}, Limit: 1,
	})
	if err != nil {
		return 0, backend.AsError(err)
	}
	return page.Total, nil
}

// present returns what the instances that live say of themselves; this one as it is now.
func (a *App) present(ctx context.Context) (map[string]announcement, *core, error) {
	c, err := a.active()
	if err != nil {
		return nil, nil, err
	}
	if c.ports.Coordinator == nil {
		return nil, nil, Errorf(ErrUnimplemented, "backend %q does not support a registry of instances", a.ports.Name).With(OutcomeNotSent)
	}
	raw, err := c.ports.Coordinator.Present(ctx, presentInstance)
	if err != nil {
		return nil, nil, backend.AsError(err)
	}
	c.forgetDead(ctx, raw)
	all := make(map[string]announcement, len(raw))
	for id, facts := range raw {
		var n announcement
		if err := json.Unmarshal(facts, &n); err != nil {
			c.log.Debug("announcement ignored", "instance", id, "error", err)
			continue
		}
		all[id] = n
	}
	all[a.instance.ID] = c.registry.facts()
	return all, c, nil
}

// forgetDead removes the instances whose owners have ended: the store knows that sooner than an announcement expires.
// Where the store can't be asked none are removed.
func (c *core) forgetDead(ctx context.Context, present map[string]json.RawMessage) {
	if len(present) == 0 {
		return
	}
	owners, err := c.store.Owners(ctx)
	if err != nil {
		return
	}
	alive := map[string]bool{c.app.instance.ID: true}
	for owner := range owners {
		alive[heartbeat.InstanceOf(owner)] = true
	}
	for id := range present {
		if !alive[id] {
			delete(present, id)
		}
	}
}

func (n *announcement) instance(id string) Instance {
	return Instance{ID: id, IP: n.IP, Version: n.Version}
}

func (n *announcement) matches(ip, version, node string) bool {
	return matches(ip, n.IP) && matches(version, n.Version) && matches(node, n.Node)
}

func matches(want, is string) bool { return want == "" || want == is }
