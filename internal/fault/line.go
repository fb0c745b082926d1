package fault

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A line is the connection of a process with the transport.
type line struct {
	since  time.Time // when it was established, as the process sees it; zero: since the process began
	cut    time.Time // when it was interrupted; zero while it works
	closed bool
}

// dropAfter is how long after an interruption both ends close the line.
const dropAfter = time.Second

func (l *line) set(whole bool, now time.Time) {
	switch {
	case !whole && l.cut.IsZero():
		l.cut = now
	case whole && !l.cut.IsZero():
		if l.lost(now) {
			l.since = now
		}
		l.cut = time.Time{}
	}
}

func (l *line) lost(now time.Time) bool {
	return l.closed || !l.cut.IsZero() && now.Sub(l.cut) >= dropAfter
}

// seeingTransport is a transport that sees which processes of its World are connected.
type seeingTransport struct {
	backend.Transport
	b *Backend
	w *World
}

// Absent implements [backend.ConnectionChecker].
func (t seeingTransport) Absent(ctx context.Context, instances []string) ([]string, error) {
	return through(ctx, t.b, call{"Absent", nil, toOther}, func(context.Context) ([]string, error) {
		var absent []string
		for _, id := range instances {
			m, ok := t.w.members.Load(id)
			if !ok || !m.(*Backend).connected() {
				absent = append(absent, id)
			}
		}
		return absent, nil
	})
}

func (b *Backend) connected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.crashed() && !b.line.lost(time.Now())
}

// Visible implements [backend.ConnectionChecker].
func (t seeingTransport) Visible() (time.Time, <-chan struct{}) {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if t.b.line.lost(time.Now()) {
		return time.Time{}, nil
	}
	if t.b.line.since.IsZero() {
		return t.w.start, nil
	}
	return t.b.line.since, nil
}

var _ backend.ConnectionChecker = seeingTransport{}
