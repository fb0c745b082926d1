package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// Versions tracks the other versions of this App's workers that are running. The fingerprint of a worker's payload
// identifies its version.
//
// While an instance with another version of a worker is running and may claim, this App leaves that version's tasks to
// it: claims skip them (backend.Claim.Skip). Otherwise tasks are claimed in order. If the payload of a claimed task
// then can't be decoded, the task waits for a worker of its version. It is retried with a growing delay, without being
// charged an attempt, until the App's WrongVersionAfter has passed.
//
// The running versions are known from the registry's announcements. They may be stale. A claim that takes a task of
// another version for that reason only costs a delay.
//
// With several versions, hints are less useful: all instances share them, and a worker of another version that receives
// one claims nothing. So pools poll after each full claim and once a second, and a pool whose hints led to no claim
// makes all others poll.
type Versions struct {
	registry *Registry
	claims   Claims
	changed  signal.Signal // makes Run refresh without waiting

	// Only Begin and then Run use these.
	mixed bool                 // other versions are running
	read  time.Time            // when the announcements were last read
	known map[string]versioned // by instance
	left  map[string]versioned // the instances to which claims leave tasks
}

// A versioned is an instance's announcement with the decoded parts that the pools need. It is cached, as few
// announcements change between two reads.
type versioned struct {
	facts    json.RawMessage
	others   []version // of workers that claim and have another version than this App's
	ip       string    // of the instance, if it has others
	networks []string  // that include ip
}

// A version is a version of the worker of a queue.
type version struct{ queue, fingerprint string }

// same reports whether the pools need the same of two announcements.
func (v versioned) same(other versioned) bool {
	return slices.Equal(v.others, other.others) && slices.Equal(v.networks, other.networks)
}

const (
	versionsEvery = 5 * time.Second // in case a notification is lost
	versionsStale = 15 * time.Second
)

// Claims are the claims of this App's tasks. [tasks.Engine] implements it.
type Claims interface {
	// Fingerprint returns the version of the worker of a queue. ok is false if this App has none.
	Fingerprint(queue string) (fingerprint string, ok bool)
	// SkipVersions makes the claims of a queue leave out tasks of these versions.
	SkipVersions(queue string, versions []backend.Version)
}

// NewVersions returns a Versions that reads the announcements of a registry. claims is nil in a process that claims
// nothing.
func NewVersions(r *Registry, claims Claims) *Versions {
	return &Versions{registry: r, claims: claims, changed: signal.New()}
}

// Begin refreshes before the first claim.
func (v *Versions) Begin(ctx context.Context) {
	if !v.needed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, heartbeat.Timeout(v.registry.Lease))
	defer cancel()
	v.refresh(ctx)
}

func (v *Versions) needed() bool {
	return v.registry.Ports.Coordinator != nil && len(v.registry.Queues()) > 0
}

// RefreshSoon makes Run refresh. It never blocks.
func (v *Versions) RefreshSoon() { v.changed.Set() }

// Run refreshes after notifications and at intervals. These are shorter while there are several versions, because a
// process that is killed sends no notification.
func (v *Versions) Run(ctx context.Context) {
	if !v.needed() {
		return
	}
	timer := time.NewTimer(v.interval())
	defer timer.Stop()
	for {
		select {
		case <-v.changed.C():
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		v.refresh(opCtx)
		cancel()
		timer.Reset(v.interval())
	}
}

// interval returns the time until the next refresh.
func (v *Versions) interval() time.Duration {
	if v.mixed {
		return retry.Jitter(heartbeat.Every)
	}
	return retry.Jitter(versionsEvery)
}

// refresh reads which versions are running and passes them to the pools. If it can't read them, the previous ones
// remain valid for versionsStale.
func (v *Versions) refresh(ctx context.Context) {
	raw, err := v.registry.Ports.Coordinator.Present(ctx, presentInstance)
	switch {
	case err == nil:
		v.read = time.Now()
	case time.Since(v.read) < versionsStale:
		return
	}
	delete(raw, v.registry.App.ID)
	known := make(map[string]versioned, len(raw))
	for id, facts := range raw {
		one, ok := v.known[id]
		if !ok || !bytes.Equal(one.facts, facts) {
			one = v.versioned(facts, one)
		}
		known[id] = one
		if len(one.others) == 0 {
			delete(raw, id)
		}
	}
	v.known = known
	v.registry.forgetDead(ctx, raw)
	left := make(map[string]versioned, len(raw))
	for id := range raw {
		left[id] = known[id]
	}
	if same := maps.EqualFunc(left, v.left, versioned.same); !same {
		v.left = left
		v.skip()
	}
}

// skip makes claims leave tasks to the instances of v.left.
func (v *Versions) skip() {
	byQueue := map[string]map[string][]string{} // networks by queue and fingerprint
	for _, one := range v.left {
		for _, w := range one.others {
			if byQueue[w.queue] == nil {
				byQueue[w.queue] = map[string][]string{}
			}
			byQueue[w.queue][w.fingerprint] = append(byQueue[w.queue][w.fingerprint], one.networks...)
		}
	}
	v.mixed = len(byQueue) > 0
	for _, queue := range v.registry.Queues() {
		var skip []backend.Version
		for fingerprint, networks := range byQueue[queue] {
			slices.Sort(networks)
			skip = append(skip, backend.Version{Fingerprint: fingerprint, Networks: slices.Compact(networks)})
		}
		slices.SortFunc(skip, func(a, b backend.Version) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
		v.claims.SkipVersions(queue, skip)
	}
}

// versioned decodes an announcement that replaces before, or that is the instance's first one if before is zero. One that
// can't be decoded counts as one without workers.
func (v *Versions) versioned(facts json.RawMessage, before versioned) versioned {
	one := versioned{facts: facts}
	var a Announcement
	if json.Unmarshal(facts, &a) != nil || a.Draining {
		return one
	}
	for _, w := range a.Workers {
		if v.differs(w) {
			one.others = append(one.others, version{w.Queue, w.Payload})
		}
	}
	if len(one.others) > 0 {
		one.ip, one.networks = a.IP, before.networks
		if before.networks == nil || a.IP != before.ip {
			one.networks = backend.AllowedBy(a.IP)
		}
	}
	return one
}

// differs reports whether a worker of another instance claims tasks and has another version than this App's.
func (v *Versions) differs(w Worker) bool {
	ours, ok := v.claims.Fingerprint(w.Queue)
	return ok && w.Claims && w.Payload != "" && w.Payload != ours
}
