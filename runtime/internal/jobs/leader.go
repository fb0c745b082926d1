package jobs

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	leaderKind    = "scheduler" // of the announcements
	announceEvery = 5 * time.Second
	followerLag   = 2 * time.Second // by which schedulers that don't lead are late
)

// A leader tells whether its scheduler leads. Of all announced schedulers the one with the least instance id leads.
// Several may believe that they lead, or none for a while: that costs a write or 2 s, never a task. Only the
// scheduler's loop uses it.
type leader struct {
	coordinator backend.Coordinator
	self        string // the instance's id
	announced   time.Time
	leads       bool
}

// elect announces this scheduler and compares it with the others, at most every 5 s. If the coordinator is unavailable,
// this scheduler leads, and the next call tries again.
func (l *leader) elect(ctx context.Context) {
	if time.Since(l.announced) < announceEvery {
		return
	}
	l.leads = true
	if err := l.coordinator.Announce(ctx, leaderKind, l.self, []byte("{}")); err != nil {
		return
	}
	present, err := l.coordinator.Present(ctx, leaderKind)
	if err != nil {
		return
	}
	l.announced = time.Now()
	for id := range present {
		l.leads = l.leads && l.self <= id
	}
}

// lag returns how long after a due time this scheduler fires.
func (l *leader) lag() time.Duration {
	if l.leads {
		return 0
	}
	return followerLag
}
