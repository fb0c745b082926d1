package runtime

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/pages"
	"github.com/afgen/afgen/runtime/internal/registry"
)

// A MethodInfo describes a method of a service: see [ServiceInfo]. Its fields:
//
//	Name        string // such as Add
//	Signature   string // its parameters and results with their Go types
//	Fingerprint string // of its contract: differs if the two sides of a call may be incompatible
//	Idempotent  bool   // it may be called again if the outcome of a call is unknown
//	Doc         string // the first paragraph of its doc comment
type MethodInfo = backend.MethodInfo

// An InstanceInfo describes a running App. It is at most a second old while the instance is alive. After a Shutdown the
// instance is removed at once. If its process dies, it is removed when its lease has expired: at once on the embedded
// backend, and within [Lease] and a few seconds on others.
type InstanceInfo struct {
	Instance
	Node     string    `json:"node"`               // the machine's id: see [App.Nodes]
	Host     string    `json:"host"`               // the machine's name
	PID      int       `json:"pid"`                // of the process
	Started  time.Time `json:"started"`            // by the instance's clock
	Draining bool      `json:"draining,omitempty"` // it accepts no more calls and tasks
	Services []string  `json:"services"`           // sorted
	Queues   []string  `json:"queues"`             // sorted
	// Degraded has what is down in its [App.Health], as the mode and the cause, such as "not-claiming: no heartbeat is
	// accepted". It is nil if nothing is, and for instances of versions that do not announce it.
	Degraded []string `json:"degraded,omitempty"`
	// LastBeat is when the instance's last heartbeat was stored, and Expires when its lease ends unless another one
	// follows: then other instances take over its tasks. A heartbeat is sent every second. Both are by the store's clock,
	// and zero if unknown.
	LastBeat time.Time `json:"last_beat,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
}

// A ServiceInfo is a service and the instances that serve it: at least one.
type ServiceInfo struct {
	Name      string            `json:"name"`
	Doc       string            `json:"doc,omitempty"` // first paragraph of the doc comment of its type
	Methods   []MethodInfo      `json:"methods"`       // of the instance that was started last
	Instances []ServiceInstance `json:"instances"`     // sorted by id
	Load      ServiceLoad       `json:"load"`          // sum of all instances
}

// A ServiceInstance is a service as one instance serves it.
type ServiceInstance struct {
	Instance
	Node        string       `json:"node"`
	Started     time.Time    `json:"started"`               // by the instance's clock
	Draining    bool         `json:"draining,omitempty"`    // it accepts no more calls
	Concurrency int          `json:"concurrency,omitempty"` // calls handled at once
	Contract    string       `json:"contract,omitempty"`    // the same for all instances with the same methods
	Methods     []MethodInfo `json:"methods"`               // sorted by name; must not be modified
	Load        ServiceLoad  `json:"load"`
}

// A ServiceLoad counts calls since the instance was started.
type ServiceLoad struct {
	InFlight int64 `json:"in_flight"` // calls being handled now
	Calls    int64 `json:"calls"`     // calls begun
	Errors   int64 `json:"errors"`    // calls for which the handler returned an error
}

// A WorkerInfo describes the worker of a queue on one instance.
type WorkerInfo struct {
	Queue    string   `json:"queue"`
	Instance Instance `json:"instance"`
	Node     string   `json:"node"`
	Draining bool     `json:"draining,omitempty"` // its App is shutting down and claims no more tasks

	Paused          bool  `json:"paused,omitempty"`           // the queue is paused
	Wanted          int   `json:"wanted"`                     // the limit set for the instance; 0 while paused
	WantedRevision  int64 `json:"wanted_revision,omitempty"`  // of the Limits that set Wanted
	Applied         int   `json:"applied"`                    // the limit that the instance applies
	AppliedRevision int64 `json:"applied_revision,omitempty"` // of the Limits that set Applied
	Running         int   `json:"running"`                    // above Applied for a while after that was lowered
	Abandoned       int   `json:"abandoned,omitempty"`        // running although their contexts have ended; each has a slot
	Waiting         int   `json:"waiting"`                    // tasks of the queue that are waiting, pending or retrying

	// The rest is zero for instances of versions that do not announce it.

	Own           int       `json:"own"`                     // the worker's own maximum, without a limit
	Fingerprint   string    `json:"fingerprint,omitempty"`   // of the worker's payload type: its version
	Claims        bool      `json:"claims"`                  // tasks, while slots are free; false if Applied is 0
	Refusal       string    `json:"refusal,omitempty"`       // why it claims none although its limit is not 0
	OldestRunning time.Time `json:"oldest_running,omitzero"` // when its longest running task was started, by its clock
}

// An InstanceQuery selects instances for [App.Instances]. A zero field does not restrict.
type InstanceQuery struct {
	ID, IP, Version, Node string
	Service               string // instances that serve this service
	Queue                 string // instances with the worker of this queue
	Sort                  InstanceSort
	Limit                 int    // instances on a page: 1 to 1000; 0 means 100
	Cursor                string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is the number of instances to skip after the cursor. If others are added or removed meanwhile, some may be
	// missed or returned twice.
	//
	// Deprecated: use Cursor.
	Skip int
}

// An InstanceSort is an order of instances; ids break ties.
type InstanceSort string

// The orders of instances.
const (
	InstancesByID      InstanceSort = ""
	InstancesByStart   InstanceSort = "started" // latest first
	InstancesByIP      InstanceSort = "ip"
	InstancesByVersion InstanceSort = "version"
)

// An InstancePage is one page of instances.
type InstancePage struct {
	Instances []InstanceInfo `json:"instances"`
	Total     int            `json:"total"`            // number of instances on all pages
	Cursor    string         `json:"cursor,omitempty"` // of the next page; "" on the last one
}

// A ServiceQuery selects services for [App.Services]. A zero field does not restrict. IP, Version and Node select
// instances: services without a matching instance are left out, and only matching instances are listed.
type ServiceQuery struct {
	Name              string
	IP, Version, Node string
	Sort              ServiceSort
	Limit             int    // services on a page: 1 to 1000; 0 means 100
	Cursor            string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is the number of services to skip after the cursor. If others are added or removed meanwhile, some may be
	// missed or returned twice.
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
	Services []ServiceInfo `json:"services"`
	Total    int           `json:"total"`            // number of services on all pages
	Cursor   string        `json:"cursor,omitempty"` // of the next page; "" on the last one
}

// A WorkerQuery selects workers for [App.Workers]. A zero field does not restrict.
type WorkerQuery struct {
	Queue, IP, Instance, Node string
	Sort                      WorkerSort
	Limit                     int    // workers on a page: 1 to 1000; 0 means 100
	Cursor                    string // the Cursor of the previous page, in the same order; "" for the first page
	NoWaiting                 bool   // leave WorkerInfo.Waiting 0: on servers, counting up to 10,000 tasks takes long

	// Skip is the number of workers to skip after the cursor. If others are added or removed meanwhile, some may be missed
	// or returned twice.
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
	Workers []WorkerInfo `json:"workers"`
	Total   int          `json:"total"`            // number of workers on all pages
	Cursor  string       `json:"cursor,omitempty"` // of the next page; "" on the last one
}

// Instances returns a page of the running Apps that match q. If the coordinator is unavailable, it returns
// [ErrUnavailable].
func (a *App) Instances(ctx context.Context, q InstanceQuery) (InstancePage, error) {
	all, _, err := a.present(ctx)
	if err != nil {
		return InstancePage{}, err
	}
	var found []InstanceInfo
	for id, n := range all {
		in := InstanceInfo{
			Instance: n.Instance(id), Node: n.Node, Host: n.Host, PID: n.PID, Started: n.Started, Draining: n.Draining,
			Degraded: n.Degraded, LastBeat: n.LastBeat, Expires: n.Expires, Services: []string{}, Queues: []string{},
		}
		for _, s := range n.Services {
			in.Services = append(in.Services, s.Name)
		}
		for _, w := range n.Workers {
			in.Queues = append(in.Queues, w.Queue)
		}
		slices.Sort(in.Services)
		if registry.Matches(q.ID, id) && n.Matches(q.IP, q.Version, q.Node) &&
			(q.Service == "" || slices.Contains(in.Services, q.Service)) &&
			(q.Queue == "" || slices.Contains(in.Queues, q.Queue)) {
			found = append(found, in)
		}
	}
	cut := pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}
	page := InstancePage{Total: len(found)}
	key := map[InstanceSort]func(InstanceInfo) string{
		InstancesByID:      func(n InstanceInfo) string { return n.ID },
		InstancesByStart:   func(n InstanceInfo) string { return pages.Latest(n.Started) + n.ID },
		InstancesByIP:      func(n InstanceInfo) string { return pages.Text(n.IP) + n.ID },
		InstancesByVersion: func(n InstanceInfo) string { return pages.Text(n.Version) + n.ID },
	}[q.Sort]
	page.Instances, page.Cursor, err = pages.Of(found, cut, key)
	return page, err
}

// Services returns a page of the services that match q and are served by at least one running instance. If the
// coordinator is unavailable, it returns [ErrUnavailable].
func (a *App) Services(ctx context.Context, q ServiceQuery) (ServicePage, error) {
	all, c, err := a.present(ctx)
	if err != nil {
		return ServicePage{}, err
	}
	byName := map[string]*ServiceInfo{}
	for id, n := range all {
		for _, s := range n.Services {
			if !registry.Matches(q.Name, s.Name) || !n.Matches(q.IP, q.Version, q.Node) {
				continue
			}
			info := byName[s.Name]
			if info == nil {
				info = &ServiceInfo{Name: s.Name}
				byName[s.Name] = info
			}
			info.Instances = append(info.Instances, ServiceInstance{
				Instance: n.Instance(id), Node: n.Node, Started: n.Started, Draining: n.Draining, Concurrency: s.Concurrency,
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
	cut := pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}
	page := ServicePage{Total: len(found)}
	key := map[ServiceSort]func(ServiceInfo) string{
		ServicesByName:      func(s ServiceInfo) string { return s.Name },
		ServicesByLoad:      func(s ServiceInfo) string { return pages.Most(s.Load.InFlight) + s.Name },
		ServicesByInstances: func(s ServiceInfo) string { return pages.Most(len(s.Instances)) + s.Name },
	}[q.Sort]
	page.Services, page.Cursor, err = pages.Of(found, cut, key)
	if err == nil {
		err = c.describe(ctx, page.Services)
	}
	return page, err
}

// describe reads the methods of services. A contract that is not stored, such as that of a new instance, has none.
func (c *core) describe(ctx context.Context, services []ServiceInfo) error {
	known := map[string]registry.Description{}
	for i := range services {
		s := &services[i]
		newest := &s.Instances[0]
		for j := range s.Instances {
			in := &s.Instances[j]
			name := s.Name + "/" + in.Contract
			about, ok := known[name]
			if !ok {
				var err error
				if about, err = c.registry.Describe(ctx, s.Name, in.Contract); err != nil {
					return err
				}
				known[name] = about
			}
			if in.Methods = about.Methods; in.Started.After(newest.Started) {
				newest = in
			}
		}
		s.Methods, s.Doc = newest.Methods, known[s.Name+"/"+newest.Contract].Doc
	}
	return nil
}

// Workers returns a page of the running workers that match q, one for each queue and instance, with their limits and
// numbers of tasks. If the coordinator is unavailable, it returns [ErrUnavailable].
func (a *App) Workers(ctx context.Context, q WorkerQuery) (WorkerPage, error) {
	all, c, err := a.present(ctx)
	if err != nil {
		return WorkerPage{}, err
	}
	limits, err := c.limits.All(ctx)
	if err != nil {
		return WorkerPage{}, err
	}
	var found []WorkerInfo
	for id, n := range all {
		for _, w := range n.Workers {
			if !registry.Matches(q.Queue, w.Queue) || !registry.Matches(q.Instance, id) || !n.Matches(q.IP, "", q.Node) {
				continue
			}
			l := limits[w.Queue].For(n.IP, w.Own)
			found = append(found, WorkerInfo{
				Queue: w.Queue, Instance: n.Instance(id), Node: n.Node, Draining: n.Draining,
				Paused: l.Paused, Wanted: l.Slots(), WantedRevision: l.Revision,
				Applied: w.Applied, AppliedRevision: w.Revision, Running: w.Running, Abandoned: w.Abandoned,
				Own: w.Own, Fingerprint: w.Payload, Claims: w.Applied > 0 && w.Refusal == "", Refusal: w.Refusal, OldestRunning: w.Oldest,
			})
		}
	}
	id := func(w WorkerInfo) string { return pages.Text(w.Queue) + w.Instance.ID }
	cut := pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}
	page := WorkerPage{Total: len(found)}
	key := map[WorkerSort]func(WorkerInfo) string{
		WorkersByQueue:   id,
		WorkersByIP:      func(w WorkerInfo) string { return pages.Text(w.Instance.IP) + id(w) },
		WorkersByRunning: func(w WorkerInfo) string { return pages.Most(w.Running) + id(w) },
	}[q.Sort]
	page.Workers, page.Cursor, err = pages.Of(found, cut, key)
	waiting := map[string]int{}
	for i := range page.Workers {
		queue := page.Workers[i].Queue
		if _, ok := waiting[queue]; !ok && err == nil && !q.NoWaiting {
			waiting[queue], err = c.waiting(ctx, queue)
		}
		page.Workers[i].Waiting = waiting[queue]
	}
	return page, err
}

// waiting returns the number of tasks of a queue that have not been started.
func (c *core) waiting(ctx context.Context, queue string) (int, error) {
	page, err := c.store.List(ctx, backend.TaskQuery{
		Queue: queue, Statuses: []Status{StatusWaiting, StatusPending, StatusRetrying}, Limit: 1,
	})
	if err != nil {
		return 0, backend.AsError(err)
	}
	return page.Total, nil
}

// present returns the announcements of the running instances, by id. That of this instance is current.
func (a *App) present(ctx context.Context) (map[string]registry.Announcement, *core, error) {
	c, err := a.active()
	if err != nil {
		return nil, nil, err
	}
	if c.ports.Coordinator == nil {
		return nil, nil, Errorf(ErrUnimplemented, "backend %q does not support a registry of instances", a.ports.Name).
			With(OutcomeNotSent)
	}
	all, err := c.registry.Present(ctx)
	return all, c, err
}
