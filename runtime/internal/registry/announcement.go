package registry

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
)

// An Announcement describes an instance to others. The names of its JSON fields never change.
type Announcement struct {
	IP       string                `json:"ip"`
	Version  string                `json:"version,omitempty"`
	Node     string                `json:"node"`
	Host     string                `json:"host"`
	PID      int                   `json:"pid"`
	Started  time.Time             `json:"started"`
	Draining bool                  `json:"draining,omitempty"`
	Services []ServiceAnnouncement `json:"services,omitempty"`
	Workers  []Worker              `json:"workers,omitempty"`
	Degraded []string              `json:"degraded,omitempty"`

	// LastBeat is when the instance's last heartbeat was stored, and Expires when its lease ends unless another one
	// follows, by the store's clock. They are zero if unknown.
	LastBeat time.Time `json:"-"`
	Expires  time.Time `json:"-"`
}

// A ServiceAnnouncement is a service of an instance, with its load.
type ServiceAnnouncement struct {
	Name        string `json:"name"`
	Contract    string `json:"contract"`
	Concurrency int    `json:"concurrency"`
	InFlight    int64  `json:"in_flight,omitempty"`
	Calls       int64  `json:"calls,omitempty"`
	Errors      int64  `json:"errors,omitempty"`
}

// A Worker is the worker of a queue on an instance.
type Worker struct {
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

// equal reports whether two announcements are encoded the same.
func (n *Announcement) equal(o *Announcement) bool {
	return n.IP == o.IP && n.Version == o.Version && n.Node == o.Node && n.Host == o.Host && n.PID == o.PID &&
		n.Started.Equal(o.Started) && n.Draining == o.Draining && slices.Equal(n.Services, o.Services) &&
		slices.Equal(n.Workers, o.Workers) && slices.Equal(n.Degraded, o.Degraded)
}

// Instance returns the instance, whose id is known from the registry.
func (n *Announcement) Instance(id string) backend.Instance {
	return backend.Instance{ID: id, IP: n.IP, Version: n.Version}
}

// Matches reports whether the instance has these properties; "" matches any.
func (n *Announcement) Matches(ip, version, node string) bool {
	return Matches(ip, n.IP) && Matches(version, n.Version) && Matches(node, n.Node)
}

// Matches reports whether a property is the wanted one; "" matches any.
func Matches(want, is string) bool { return want == "" || want == is }

// claimers returns the versions of the workers for which an instance claims. When they change, other instances refresh.
func (n *Announcement) claimers() string {
	var all strings.Builder
	for _, w := range n.Workers {
		if !n.Draining && w.Claims {
			all.WriteString(w.Queue + " " + w.Payload + "\n")
		}
	}
	return all.String()
}

// Bounds of what an announcement says about health.
const (
	maxDegraded      = 8
	maxDegradedBytes = 200 // of each
)

// degraded returns the modes of the conditions that are down.
func degraded(conditions []backend.Condition) (modes []string) {
	for _, c := range conditions {
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

// Present returns the announcements of the running instances, by id. That of this App is current, unless it is an
// observer. The backend must have a coordinator.
func (r *Registry) Present(ctx context.Context) (map[string]Announcement, error) {
	raw, err := r.Ports.Coordinator.Present(ctx, presentInstance)
	if err != nil {
		return nil, backend.AsError(err)
	}
	beats := r.forgetDead(ctx, raw)
	all := make(map[string]Announcement, len(raw))
	for id, facts := range raw {
		var n Announcement
		if err := json.Unmarshal(facts, &n); err != nil {
			r.Log.Debug("announcement ignored", "instance", id, "error", err)
			continue
		}
		n.LastBeat, n.Expires = beats[id].at, beats[id].expires
		all[id] = n
	}
	if !r.Observer {
		n, beat := r.facts(), beats[r.App.ID]
		n.LastBeat, n.Expires = beat.at, beat.expires
		all[r.App.ID] = n
	}
	return all, nil
}

// HasWorker reports whether a worker of a queue is running. The backend must have a coordinator.
func (r *Registry) HasWorker(ctx context.Context, queue string) (bool, error) {
	present, err := r.Ports.Coordinator.Present(ctx, presentWorker+queue)
	if err != nil {
		return false, backend.AsError(err)
	}
	r.forgetDead(ctx, present)
	return len(present) > 0, nil
}

// A lastBeat is when the last heartbeat of an instance was stored, and when its lease expires.
type lastBeat struct{ at, expires time.Time }

// forgetDead removes the instances whose owners have ended, which the store knows before their announcements expire,
// and returns the last heartbeats of the others. If the store is unavailable, it removes none.
func (r *Registry) forgetDead(ctx context.Context, present map[string]json.RawMessage) map[string]lastBeat {
	if len(present) == 0 {
		return nil
	}
	owners, err := r.Ports.Store.Owners(ctx)
	if err != nil {
		return nil
	}
	alive := map[string]lastBeat{r.App.ID: {}}
	for owner, beat := range owners {
		id := heartbeat.InstanceOf(owner)
		last := alive[id]
		if beat.At.After(last.at) {
			last = lastBeat{beat.At, beat.At.Add(heartbeat.LeaseOf(owner))}
		}
		alive[id] = last
	}
	for id := range present {
		if _, ok := alive[id]; !ok {
			delete(present, id)
		}
	}
	return alive
}
