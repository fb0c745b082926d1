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

// A version of a worker is told by the fingerprint of its payload. While an instance with another version of a worker is
// present and may claim, this App leaves that version's tasks to it: a claim skips them (backend.Claim.Skip). Without such
// an instance a task is claimed in order. If its payload doesn't decode then, the task waits, with a growing delay and
// without being charged, until a worker of its version comes, or [WrongVersionAfter] has passed.
//
// Which versions are present is known from the registry's announcements. That is a matter of economy only: a claim that
// takes a task of another version, since this knowledge is a moment old, costs a delay.
//
// While there are several versions hints are of little use: all instances share them, and one that goes to another
// version's worker claims nothing. So pools look for themselves after each full claim and once a second, and a pool whose
// hints came to nothing has all others look.
type versions struct {
	core *core
	news signal.Signal

	// Only begin and then run use these.
	mixed bool                 // there are others
	read  time.Time            // the announcements, last
	known map[string]versioned // by instance, as read last
}

// A versioned is an instance's announcement, with what of it the pools need. Few of them change between two looks.
type versioned struct {
	facts    json.RawMessage
	others   []announcedWorker // with another version than this App's, that claim
	networks []string
}

const (
	topicWorkers  = "af.workers"    // some have come, gone, or begun or ceased to claim
	versionsEvery = 5 * time.Second // the net under news
	versionsStale = 15 * time.Second
)

func newVersions(c *core) *versions { return &versions{core: c, news: signal.New()} }

// begin looks before anything is claimed.
func (v *versions) begin(ctx context.Context) {
	if !v.needed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, v.core.app.settings.lease/4)
	defer cancel()
	v.look(ctx)
}

func (v *versions) needed() bool { return v.core.ports.Coordinator != nil && len(v.core.queues()) > 0 }

// lookNow makes run look. It never waits.
func (v *versions) lookNow() {
	v.news.Set()
}

// run looks at news and now and then: more often while there are several versions, since no news tells of a process that
// was killed.
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
		case <-v.news.C():
		case <-timer.C:
		case <-ctx.Done():
		}
		if timer.Stop(); ctx.Err() != nil {
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		v.look(opCtx)
		cancel()
	}
}

// look reads which versions are present and tells the pools. Where that can't be read, what was known holds for a while.
func (v *versions) look(ctx context.Context) {
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
		v.core.tasks.LeaveTo(queue, skip)
	}
}

// versioned reads an announcement. One that does not decode is as one without workers.
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

// differs reports whether a worker of another instance claims tasks of another version than this App's.
func (v *versions) differs(w announcedWorker) bool {
	ours, ok := v.core.tasks.Fingerprint(w.Queue)
	return ok && w.Claims && w.Payload != "" && w.Payload != ours
}

// claimers describes which versions of which workers an instance claims for: when that changes others look.
func (a *announcement) claimers() string {
	var all strings.Builder
	for _, w := range a.Workers {
		if !a.Draining && w.Claims {
			all.WriteString(w.Queue + " " + w.Payload + "\n")
		}
	}
	return all.String()
}
