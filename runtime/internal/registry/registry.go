// Package registry announces an App to other instances and reads their announcements.
//
// A [Registry] sends one [Announcement] every few seconds, and within a second after a change. It has the App's
// services, its queues and its load, with a few numbers for each service and queue. The signatures of methods, which
// don't change, are in a document that all instances with the same contract share (package presence); the announcement
// has its name. So the announcements of a hundred instances with fifty methods each are a few kilobytes.
// [Registry.Present] reads the announcements of all instances, and [Registry.Contract] a contract.
//
// [Versions] reads from the announcements which versions of this App's workers are running elsewhere, and makes the
// claims leave their tasks to them. [Registry.CheckArgs] finds misspelt arguments of calls.
package registry

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Config configures a Registry. Its functions must be safe for concurrent use.
type Config struct {
	Ports    *backend.Ports // without a Coordinator nothing is announced, without Docs no contracts are stored
	App      backend.Instance
	Observer bool // it isn't announced
	Lease    time.Duration
	Log      *slog.Logger
	Bus      *pubsub.Bus

	Node       func() (id, host string)   // the machine
	Queues     func() []string            // whose tasks this process runs
	Workers    func() []Worker            // of these queues
	Conditions func() []backend.Condition // the health of the App
}

// A Registry announces an App. Its methods, except Add, Begin and Run, are safe for concurrent use.
type Registry struct {
	Config
	contracts presence.Contracts
	services  []*Service
	started   time.Time
	pid       int
	known     knownArgs

	soon signal.Signal // makes Run announce without waiting

	mu       sync.Mutex
	draining bool

	// Only Begin and then Run use these.
	last      Announcement
	encoded   []byte // last
	lastAt    time.Time
	queuesAt  time.Time // when the queues were last announced
	checkedAt time.Time // when all contracts were last known to be stored
}

// TopicWorkers is published when an instance's claiming workers change.
const TopicWorkers = "af.workers"

const (
	presentInstance = "instance"
	presentWorker   = "worker/" // followed by the queue
	announceEvery   = 5 * time.Second
	announceGap     = 200 * time.Millisecond // the minimum between two announcements
	contractsEvery  = 10 * time.Minute
)

// New returns a Registry. It announces nothing before Begin.
func New(c Config) *Registry {
	return &Registry{
		Config: c, contracts: presence.Contracts{Docs: c.Ports.Docs}, started: time.Now(), pid: os.Getpid(),
		soon: signal.New(),
	}
}

// Add adds a service. It must not be called after Begin.
func (r *Registry) Add(s *Service) { r.services = append(r.services, s) }

// Begin sends the first announcement, so that the App is found once Start has returned. If the coordinator is
// unavailable, Run retries.
func (r *Registry) Begin(ctx context.Context) {
	r.started = time.Now()
	ctx, cancel := context.WithTimeout(ctx, heartbeat.Timeout(r.Lease))
	defer cancel()
	r.storeContracts(ctx)
	r.announce(ctx)
}

// AnnounceSoon makes Run send an announcement without waiting. It never blocks.
func (r *Registry) AnnounceSoon() {
	r.soon.Set()
}

// Quit announces that this App is draining.
func (r *Registry) Quit() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.AnnounceSoon()
}

func (r *Registry) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}

// Run sends announcements until ctx ends. After that, other instances know from the store that the owner has ended.
func (r *Registry) Run(ctx context.Context) {
	if r.Ports.Coordinator == nil {
		return
	}
	timer := time.NewTimer(retry.Jitter(heartbeat.Every))
	defer timer.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-r.soon.C():
			if !retry.Sleep(ctx, announceGap-time.Since(last)) {
				return
			}
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		if time.Since(r.checkedAt) >= contractsEvery {
			r.storeContracts(opCtx)
		}
		r.announce(opCtx)
		cancel()
		timer.Reset(retry.Jitter(heartbeat.Every))
	}
}

// announce sends an announcement, unless the same one was sent less than announceEvery ago.
func (r *Registry) announce(ctx context.Context) {
	if r.Ports.Coordinator == nil {
		return
	}
	id := r.App.ID
	if time.Since(r.queuesAt) >= announceEvery && !r.isDraining() {
		r.queuesAt = time.Now()
		for _, queue := range r.Queues() { // for RequireWorker, which looks up one queue
			if err := r.Ports.Coordinator.Announce(ctx, presentWorker+queue, id, []byte("{}")); err != nil {
				r.queuesAt = time.Time{}
				r.failed(ctx, err)
				break
			}
		}
	}
	current, encoded := r.facts(), r.encoded
	if same := encoded != nil && current.equal(&r.last); !same {
		var err error
		if encoded, err = json.Marshal(current); err != nil {
			r.failed(ctx, err)
			return
		}
	} else if time.Since(r.lastAt) < announceEvery {
		return
	}
	if err := r.Ports.Coordinator.Announce(ctx, presentInstance, id, encoded); err != nil {
		r.failed(ctx, err)
		return
	}
	before := r.last.claimers()
	r.last, r.encoded, r.lastAt = current, encoded, time.Now()
	if current.claimers() != before {
		r.Bus.Publish(TopicWorkers, []string{id})
	}
}

func (r *Registry) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		r.Log.Debug("announcing failed", "error", err)
	}
}

// facts returns the current announcement of this App.
func (r *Registry) facts() Announcement {
	node, host := r.Node()
	a := Announcement{
		IP: r.App.IP, Version: r.App.Version, Node: node, Host: host, PID: r.pid,
		Started: r.started.UTC().Round(time.Millisecond), Draining: r.isDraining(),
		Workers: r.Workers(), Degraded: degraded(r.Conditions()),
	}
	for _, s := range r.services {
		l := &s.Load
		a.Services = append(a.Services, ServiceAnnouncement{
			s.Name, s.hash, s.Concurrency, l.inFlight.Load(), l.calls.Load(), l.errors.Load(),
		})
	}
	return a
}

// storeContracts stores the methods of this App's services, unless an instance with the same contract has, and the
// names of its queues. Only when the App starts, it replaces documentation by its own, so that two versions that run side
// by side don't overwrite each other's for ever.
func (r *Registry) storeContracts(ctx context.Context) {
	if r.Ports.Docs == nil {
		r.checkedAt = time.Now()
		return
	}
	starting := r.checkedAt.IsZero()
	for _, s := range r.services {
		if err := r.contracts.Store(ctx, s.Name, s.hash, s.contract, starting); err != nil {
			r.failed(ctx, err)
			return // Run retries in a second
		}
	}
	if err := presence.StoreQueues(ctx, r.Ports.Docs, r.Queues()); err != nil {
		r.failed(ctx, err)
		return
	}
	r.checkedAt = time.Now()
}

// Contract returns a contract by its hash, or an empty one if it is not stored.
func (r *Registry) Contract(ctx context.Context, service, hash string) (presence.Contract, error) {
	for _, s := range r.services {
		if s.Name == service && s.hash == hash {
			return s.contract, nil
		}
	}
	return r.contracts.Get(ctx, service, hash)
}

// A Description is what people read about a service.
type Description struct {
	Doc     string
	Methods []backend.MethodInfo
}

// Describe returns the methods of a contract and the documentation, or nothing if it is not stored.
func (r *Registry) Describe(ctx context.Context, service, hash string) (Description, error) {
	c, err := r.Contract(ctx, service, hash)
	if err != nil {
		return Description{}, err
	}
	methods, err := presence.MethodsOf(service, hash, c)
	return Description{c.Doc, methods}, err
}
