package dashboard

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// askEvery is about how often a process looks whether the port that another one uses is free.
const askEvery = 2 * time.Second

// A publisher serves the dashboard of an App at its address. If another process has the port, it waits until that has
// ended: of several instances on a machine, one serves at a time.
type publisher struct {
	until <-chan struct{}        // the App shuts down
	open  func() (served, error) // opens the address; isInUse knows the error if another process has it
	log   *slog.Logger
}

// served is what a [Listener] does.
type served interface {
	URL() string
	serve(until <-chan struct{}) error
}

// run serves l, or if that is nil, as soon as the port is free, until the App shuts down.
func (p *publisher) run(l served) {
	for l == nil {
		timer := time.NewTimer(askEvery + rand.N(askEvery/2)) // not all instances at once
		select {
		case <-timer.C:
		case <-p.until:
			timer.Stop()
			return
		}
		var err error
		if l, err = p.open(); err != nil && !isInUse(err) {
			p.log.Error("the dashboard is not served here", "error", err)
			return
		}
		if l != nil {
			p.opened(l)
		}
	}
	if err := l.serve(p.until); err != nil {
		p.log.Error("the dashboard has ended", "error", err)
	}
}

// opened logs where the dashboard is.
func (p *publisher) opened(l served) { p.log.Info("dashboard", "url", l.URL()) }

// refused logs why the dashboard is not served here yet.
func (p *publisher) refused(e *inUseError) {
	level := slog.LevelWarn
	if e.own {
		level = slog.LevelInfo // usual with several instances on a machine
	}
	p.log.Log(context.Background(), level, "the dashboard is not served here until the port is free", "reason",
		messageOf(e))
}
