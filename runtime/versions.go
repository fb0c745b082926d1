package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// versions tracks the other versions of this App's workers that are running. The fingerprint of a worker's payload
// identifies its version.
//
// While an instance with another version of a worker is running and may claim, this App leaves that version's tasks to
// it: claims skip them (backend.Claim.Skip). Otherwise tasks are claimed in order. If the payload of a claimed task
// then can't be decoded, the task waits for a worker of its version. It is retried with a growing delay, without being
// charged an attempt, until [WrongVersionAfter] has passed.
//
// The running versions are known from the registry's announcements. They may be stale. A claim that takes a task of
// another version for that reason only costs a delay.
//
// With several versions, hints are less useful: all instances share them, and a worker of another version that receives
// one claims nothing. So pools poll after each full claim and once a second, and a pool whose hints led to no claim
// makes all others poll.
type versions struct {
	core    *core
	changed signal.Signal // makes run refresh without waiting

	// Only begin and then run use these.
	mixed bool                 // other versions are running
	read  time.Time            // when the announcements were last read
	known map[string]versioned // by instance
}

// A versioned is an instance's announcement with the decoded parts that the pools need. It is cached, as few
// announcements change between two reads.
type versioned struct {
	facts    json.RawMessage
	others   []announcedWorker // workers that claim and have another version than this App's
	networks []string
}

const (
	topicWorkers  = "af.workers"    // published when an instance's claiming workers change
	versionsEvery = 5 * time.Second // in case a notification is lost
	versionsStale = 15 * time.Second
)

func newVersions(c *core) *versions { return &versions{core: c, changed: signal.New()} }

// begin refreshes before the first claim.
func (v *versions) begin(ctx context.Context) {
	if !v.needed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, heartbeat.Timeout(v.core.app.settings.lease))
	defer cancel()
	v.refresh(ctx)
}

func (v *versions) needed() bool { return v.core.ports.Coordinator != nil && len(v.core.queues()) > 0 }

// refreshSoon makes run refresh. It never blocks.
func (v *versions) refreshSoon() {
	v.changed.Set()
}

// run refreshes after notifications and at intervals. These are shorter while there are several versions, because a
// process that is killed sends no notification.
func (v *versions) run(ctx context.Context) {
	if !v.needed() {
		return
	}
	for {
		wait := versionsEvery
		if v.mixed {
			wait = heartbeat.Every
		}
		timer := time.NewTimer(retry.Jitter(wait))
		select {
		case <-v.changed.C():
		case <-timer.C:
		case <-ctx.Done():
		}
		if timer.Stop(); ctx.Err() != nil {
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		v.refresh(opCtx)
		cancel()
	}
}

// refresh reads which versions are running and passes them to the pools. If it can't read them, the previous ones
// remain valid for versionsStale.
func (v *versions) refresh(ctx context.Context) {
	raw, err := v.core.ports.Coordinator.Present(ctx, presentInstance)
	switch {
	case err == nil:
		v.read = time.Now()
	case time.Since(v.read) < versionsStale:
		return
	}
	delete(raw, v.core.app.instance.ID)
	known := make(map[string]versioned, len(raw))
	for id, facts := range raw {
		one, ok := v.known[id]
		if !ok || !bytes.Equal(one.facts, facts) {
			one = v.versioned(facts)
		}
		known[id] = one
		if len(one.others) == 0 {
			delete(raw, id)
		}
	}
	v.known = known
	v.core.forgetDead(ctx, raw)
	byQueue := map[string]map[string][]string{} // networks by queue and fingerprint
	for id := range raw {
		one := known[id]
		for _, w := range one.others {
			if byQueue[w.Queue] == nil {
				byQueue[w.Queue] = map[string][]string{}
			}
			byQueue[w.Queue][w.Payload] = append(byQueue[w.Queue][w.Payload], one.networks...)
		}
	}
	v.mixed = len(byQueue) > 0
	for _, queue := range v.core.queues() {
		var skip []backend.Version
		for fingerprint, networks := range byQueue[queue] {
			slices.Sort(networks)
			skip = append(skip, backend.Version{Fingerprint: fingerprint, Networks: slices.Compact(networks)})
		}
		slices.SortFunc(skip, func(a, b backend.Version) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
		v.core.tasks.SkipVersions(queue, skip)
	}
}

// versioned decodes an announcement. One that can't be decoded counts as one without workers.
func (v *versions) versioned(facts json.RawMessage) versioned {
	one := versioned{facts: facts}
	var a announcement
	if json.Unmarshal(facts, &a) != nil || a.Draining {
		return one
	}
	for _, w := range a.Workers {
		if v.differs(w) {
			one.others = append(one.others, w)
		}
	}
	if len(one.others) > 0 {
		one.networks = backend.AllowedBy(a.IP)
	}
	return one
}

// differs reports whether a worker of another instance claims tasks and has another version than this App's.
func (v *versions) differs(w announcedWorker) bool {
	ours, ok := v.core.tasks.Fingerprint(w.Queue)
	return ok && w.Claims && w.Payload != "" && w.Payload != ours
}

// claimers returns the versions of the workers for which an instance claims. When they change, other instances refresh.
func (n *announcement) claimers() string {
	var all strings.Builder
	for _, w := range n.Workers {
		if !n.Draining && w.Claims {
			all.WriteString(w.Queue + " " + w.Payload + "\n")
		}
	}
	return all.String()
}
