package runtime

import (
	"context"
	"time"
)

// waitUntold is how long a call or a wait may find no instance before the log mentions it.
const waitUntold = 2 * time.Second

// location describes what other processes must open to be found by this App, as a clause for errors. It is "" on the
// backend memory. Two programs on two files, or on two databases, is the most common reason why no instance is running.
func (a *App) location() string {
	at := a.ports.Location
	if at == "" {
		return ""
	}
	at = " on " + at
	if file := a.settings.configFile; file != "" {
		at += ", configured by " + file
	}
	return at
}

// locationAttrs has the same for the log.
func (a *App) locationAttrs() (attrs []any) {
	if at := a.ports.Location; at != "" {
		attrs = append(attrs, "location", at)
	}
	if file := a.settings.configFile; file != "" {
		attrs = append(attrs, "config", file)
	}
	return attrs
}

// warnWaiting logs, once for each service or queue, that a caller waits because it isn't served.
func (a *App) warnWaiting(what, name string, attrs ...any) {
	if a.warned.First("waiting for " + what + " " + name) {
		a.log.Warn("waiting, since no instance of the "+what+" is running",
			append(append([]any{what, name}, attrs...), a.locationAttrs()...)...)
	}
}

// waitsLong logs that a task that has not begun is waited for, if no worker of its queue is running.
func (c *core) waitsLong(ctx context.Context, t *Task) {
	if err := c.requireWorker(ctx, t.Queue); CodeOf(err) == ErrFailedPrecondition {
		c.app.warnWaiting("queue", t.Queue, "task", t.ID)
	}
}
