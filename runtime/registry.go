package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A registry announces this App to other instances: its services, its queues and its load.
//
// One announcement has all of it, with a few numbers for each service and queue. It is sent every announceEvery, and
// within a second after a change. The signatures of methods, which don't change, are in a document that all instances
// with the same contract share; the announcement has its name. So the announcements of a hundred instances with fifty
// methods each are a few kilobytes.
type registry struct {
	core      *core
	contracts presence.Contracts
	started   time.Time
	pid       int

	soon signal.Signal // makes run announce without waiting

	mu       sync.Mutex
	draining bool

	// Only begin and then run use these.
	last      []byte
	lastAt    time.Time
	claimers  string    // of the last announcement
	queuesAt  time.Time // when the queues were last announced
	checkedAt time.Time // when all contracts were last known to be stored
}

const (
	presentInstance = "instance"
	presentWorker   = "worker/" // followed by the queue
	announceEvery   = 5 * time.Second
	announceGap     = 200 * time.Millisecond // the minimum between two announcements
	contractsEvery  = 10 * time.Minute
)

// An announcement describes an instance to others.
type announcement struct {
	IP       string             `json:"ip"`
	Version  string             `json:"version,omitempty"`
	Node     string             `json:"node"`
	Host     string             `json:"host"`
	PID      int                `json:"pid"`
	Started  time.Time          `json:"started"`
	Draining bool               `json:"draining,omitempty"`
	Services []announcedService `json:"services,omitempty"`
	Workers  []announcedWorker  `json:"workers,omitempty"`
	Degraded []string           `json:"degraded,omitempty"`
}

type announcedService struct {
	Name        string `json:"name"`
	Contract    string `json:"contract"`
	Concurrency int    `json:"concurrency"`
	InFlight    int64  `json:"in_flight,omitempty"`
	Calls       int64  `json:"calls,omitempty"`
	Errors      int64  `json:"errors,omitempty"`
}

type announcedWorker struct {
	Queue     string `json:"queue"`
	Payload   string `json:"payload,omitempty"` // the fingerprint of the payload
	Own       int    `json:"own"`               // the worker's own maximum
	Applied   int    `json:"applied"`
	Revision  int64  `json:"revision,omitempty"`
	Running   int    `json:"running,omitempty"`
	Abandoned int    `json:"abandoned,omitempty"` // counted in Running
	Claims    bool   `json:"claims,omitempty"`    // the limit is not 0; may be set in a paused queue

	Refusal string    `json:"refusal,omitempty"` // why it claims nothing although the limit is not 0
	Oldest  time.Time `json:"oldest,omitzero"`   // when the longest running task was started
}

// A load counts the calls of a service.
type load struct{ inFlight, calls, errors atomic.Int64 }

func (l *load) begin() {
	l.inFlight.Add(1)
	l.calls.Add(1)
}

func (l *load) end(err error) {
	l.inFlight.Add(-1)
	if err != nil {
		l.errors.Add(1)
	}
}

// A served is a service with its description for the registry.
type served struct {
	server      *server
	concurrency int
	contract    string // hash of methods
	methods     []byte
	args        map[string][]string
}

// serves adds a service to the registry. Only Start calls it.
func (a *App) serves(s *server, spec ServiceSpec) {
	infos := make([]MethodInfo, len(spec.Methods))
	for i, m := range spec.Methods {
		infos[i] = m.Info
	}
	methods, err := json.Marshal(infos)
	if err != nil { // strings and a bool
		a.log.Error("encoding methods failed", "service", spec.Name, "error", err)
	}
	args := argumentsOf(spec.Methods)
	all, err := json.Marshal(args)
	if err != nil { // strings
		a.log.Error("encoding arguments failed", "service", spec.Name, "error", err)
	}
	sum := sha256.Sum256(append(all, methods...))
	a.served = append(a.served, served{s, max(spec.Concurrency, 1), hex.EncodeToString(sum[:8]), methods, args})
}

func newRegistry(c *core) *registry {
	return &registry{
		core: c, contracts: presence.Contracts{Docs: c.ports.Docs}, started: time.Now(), pid: os.Getpid(), soon: signal.New(),
	}
}

// begin sends the first announcement, so that the App is found once Start has returned. If the coordinator is
// unavailable, run retries.
func (r *registry) begin(ctx context.Context) {
	r.started = time.Now()
	ctx, cancel := context.WithTimeout(ctx, heartbeat.Timeout(r.core.app.settings.lease))
	defer cancel()
	r.storeContracts(ctx)
	r.announce(ctx)
}

// announceNow makes run send an announcement without waiting.
func (r *registry) announceNow() {
	r.soon.Set()
}

// quit announces that this App is draining.
func (r *registry) quit() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.announceNow()
}

func (r *registry) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}

// run sends announcements until ctx ends. After that, other instances know from the store that the owner has ended.
func (r *registry) run(ctx context.Context) {
	if r.core.ports.Coordinator == nil {
		return
	}
	for {
		if !retry.Sleep(ctx, announceGap) {
			return
		}
		timer := time.NewTimer(retry.Jitter(heartbeat.Every - announceGap))
		select {
		case <-r.soon.C():
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		if time.Since(r.checkedAt) >= contractsEvery {
			r.storeContracts(opCtx)
		}
		r.announce(opCtx)
		cancel()
	}
}

// announce sends an announcement, unless the same one was sent less than announceEvery ago.
func (r *registry) announce(ctx context.Context) {
	if r.core.ports.Coordinator == nil {
		return
	}
	id := r.core.app.instance.ID
	if time.Since(r.queuesAt) >= announceEvery && !r.isDraining() {
		r.queuesAt = time.Now()
		for _, queue := range r.core.queues() { // for RequireWorker, which looks up one queue
			if err := r.core.ports.Coordinator.Announce(ctx, presentWorker+queue, id, []byte("{}")); err != nil {
				r.queuesAt = time.Time{}
				r.failed(ctx, err)
				break
			}
		}
	}
	current := r.facts()
	facts, err := json.Marshal(current)
	if err != nil {
		r.failed(ctx, err)
		return
	}
	if bytes.Equal(facts, r.last) && time.Since(r.lastAt) < announceEvery {
		return
	}
	if err := r.core.ports.Coordinator.Announce(ctx, presentInstance, id, facts); err != nil {
		r.failed(ctx, err)
		return
	}
	r.last, r.lastAt = facts, time.Now()
	if c := current.claimers(); c != r.claimers {
		r.claimers = c
		r.core.bus.Publish(topicWorkers, []string{id})
	}
}

func (r *registry) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		r.core.log.Debug("announcing failed", "error", err)
	}
}

// facts returns the current announcement of this App.
func (r *registry) facts() announcement {
	app := r.core.app
	node, host := r.core.nodes.Self(r.core.ctx)
	a := announcement{
		IP: app.instance.IP, Version: app.instance.Version, Node: node, Host: host, PID: r.pid,
		Started: r.started.UTC().Round(time.Millisecond), Draining: r.isDraining(),
	}
	for _, s := range app.served {
		l := &s.server.load
		a.Services = append(a.Services, announcedService{
			s.server.name, s.contract, s.concurrency, l.inFlight.Load(), l.calls.Load(), l.errors.Load(),
		})
	}
	for _, q := range r.core.state(false) {
		a.Workers = append(a.Workers, announcedWorker{
			q.Queue, q.Fingerprint, q.Own, q.Applied.Slots(), q.Applied.Revision, q.Slots, q.Abandoned,
			q.Applied.Known && q.Applied.Max > 0, q.Refusal, q.Oldest,
		})
	}
	a.Degraded = app.degraded()
	return a
}

// Bounds of what an announcement says about health.
const (
	maxDegraded      = 8
	maxDegradedBytes = 200 // of each
)

// degraded returns the conditions that are down, for the announcement.
func (a *App) degraded() (modes []string) {
	for _, c := range a.conditions() {
		if c.Up || len(modes) == maxDegraded {
			continue
		}
		mode := c.Mode
		if c.Cause != "" {
			mode += ": " + c.Cause
		}
		modes = append(modes, backend.Text(mode, maxDegradedBytes))
	}
	return modes
}

// storeContracts stores the methods of this App's services, unless an instance with the same contract has, and the
// names of its queues.
func (r *registry) storeContracts(ctx context.Context) {
	if r.core.ports.Docs == nil {
		r.checkedAt = time.Now()
		return
	}
	for _, s := range r.core.app.served {
		contract := presence.Contract{Methods: s.methods, Args: s.args}
		if err := r.contracts.Store(ctx, s.server.name, s.contract, contract); err != nil {
			r.failed(ctx, err)
			return // run retries in a second
		}
	}
	if err := presence.StoreQueues(ctx, r.core.ports.Docs, r.core.queues()); err != nil {
		r.failed(ctx, err)
		return
	}
	r.checkedAt = time.Now()
}
