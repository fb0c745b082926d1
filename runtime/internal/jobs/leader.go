package jobs

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	leaderKind    = "scheduler" // of announcements
	announceEvery = 5 * time.Second
	followerLag   = 2 * time.Second // delay of schedulers that don't lead
)

// A leader reports whether its scheduler leads. Among the announced schedulers, the one with the least instance id
// leads. For a while several may believe that they lead, or none. This costs a write or 2 s, but never a task. Only
// the scheduler's loop uses it.
type leader struct {
	coordinator backend.Coordinator
	self        string // the instance's id
	announced   time.Time
	leads       bool
}

// elect announces this scheduler and compares it with the others, at most every 5 s. If the coordinator is
// unavailable, this scheduler leads and the next call retries.
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

// lag returns this scheduler's delay after a due time.
func (l *leader) lag() time.Duration {
	if l.leads {
		return 0
	}
	return followerLag
}
