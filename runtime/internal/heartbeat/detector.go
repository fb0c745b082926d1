package heartbeat

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A detector is the state of the failure detector. Only Detect uses it.
type detector struct {
	watched map[string]watch
	looked  time.Time // when it last saw all counters
}

// A watch is an owner's counter, since when it is unchanged, and since when the owner's instance is also
// disconnected.
type watch struct {
	count  int64
	since  time.Time
	absent time.Time // zero while connected

	lease, absentAfter time.Duration // of the owner, by this process's clock
}

// suspectEvery is how often counters are read after a hint was redelivered, or while a counter is unchanged. Longer
// intervals would add up until a killed process is declared dead.
const suspectEvery = Every / 4

// Detect declares owners dead whose processes have ended or hang, until ctx ends.
func (h *Heartbeat) Detect(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	var deaths <-chan struct{}
	if w, ok := h.Store.(backend.ProcessWatcher); ok {
		deaths = w.Deaths()
	}
	var hurry <-chan time.Time
	var alarmed time.Time
	detect := func() {
		again := h.detect(ctx)
		if again == 0 && time.Since(alarmed) < absentAfter+Every {
			again = suspectEvery
		}
		if again > 0 {
			hurry = time.After(again)
		}
	}
	for {
		select {
		case <-tick.C:
			h.refundTasks(ctx)
			detect()
		case <-h.alarms.C():
			if alarmed = time.Now(); hurry == nil {
				detect()
			}
		case <-hurry:
			hurry = nil
			detect()
		case <-h.refund.C():
			h.refundTasks(ctx)
		case <-deaths:
			detect()
		case <-ctx.Done():
			return
		}
	}
}

// Suspect makes Detect read counters more often for a while. Call it when the hint of a task that runs on another
// instance was redelivered, which happens if its receiver has died.
func (h *Heartbeat) Suspect() { h.alarms.Set() }

// detect declares owners dead whose counters are unchanged for their lease, or for less if their instances are also
// disconnected, and owners that the store knows to be dead. After an outage of the store the watch starts over, so
// that the outage isn't held against any owner. again is when to look again, or 0 for after the usual interval.
func (h *Heartbeat) detect(ctx context.Context) (again time.Duration) {
	opCtx, cancel := context.WithTimeout(ctx, Timeout(h.Lease))
	defer cancel()
	beats, err := h.Store.Owners(opCtx)
	now := time.Now()
	if err != nil || now.Sub(h.detector.looked) > h.Lease/2 || !h.CanClaim() {
		// also if this process or one of its calls hung, or it couldn't beat: others may have been affected, too
		clear(h.detector.watched)
	}
	if err != nil {
		return 0
	}
	h.detector.looked = now
	delete(beats, h.Owner())
	for name := range h.detector.watched {
		if _, ok := beats[name]; !ok {
			delete(h.detector.watched, name)
		}
	}
	_, sees := h.Transport.(backend.ConnectionChecker)
	var quiet []string
	for name, b := range beats {
		w, ok := h.detector.watched[name]
		if !ok {
			w.lease, w.absentAfter = h.span(LeaseOf(name)), h.span(absentAfterOf(name))
		}
		if !ok || w.count != b.Count {
			w.count, w.since, w.absent = b.Count, now, time.Time{}
			h.detector.watched[name] = w
		}
		if sees && now.Sub(w.since) > Every/2 {
			again = suspectEvery
		}
		if now.Sub(w.since) >= w.absentAfter-h.span(absentFor+suspectEvery) {
			quiet = append(quiet, name)
		}
	}
	dead := h.dead(opCtx, beats)
	absent := h.absent(opCtx, quiet)
	for name, b := range beats {
		w := h.detector.watched[name]
		still := now.Sub(w.since)
		switch {
		case slices.Contains(dead, name), still >= w.lease, still >= w.absentAfter && slices.Contains(absent, name):
			h.expire(opCtx, name, b.Count)
		}
		if left := h.absentIn(name, now); left > 0 {
			again = min(again, left)
		}
	}
	return again
}

// absentIn returns when to look again at an owner that is now disconnected, or 0 if it isn't or has no more time. It
// saves up to suspectEvery until a killed process is declared dead.
func (h *Heartbeat) absentIn(name string, now time.Time) time.Duration {
	w, ok := h.detector.watched[name]
	if !ok || w.absent.IsZero() {
		return 0
	}
	at := w.since.Add(w.absentAfter)
	if since := w.absent.Add(h.span(absentFor)); since.After(at) {
		at = since
	}
	if at.Before(now) {
		return 0
	}
	return max(at.Sub(now), suspectEvery/10)
}

// absent returns the owners whose instances have been disconnected from the transport for absentFor while their
// counters were unchanged.
func (h *Heartbeat) absent(ctx context.Context, owners []string) []string {
	l, ok := h.Transport.(backend.ConnectionChecker)
	if !ok || len(owners) == 0 {
		return nil
	}
	instances := make([]string, len(owners))
	for i, name := range owners {
		instances[i] = InstanceOf(name)
	}
	asked := time.Now()
	var gone, absent []string
	if h.storeFast() { // if the store is slow, a late counter says little about its owner
		var err error
		if gone, err = l.Absent(ctx, instances); err != nil {
			h.Log.Debug("reading connected instances failed", "error", err)
			gone = nil
		}
	}
	for _, name := range owners {
		w := h.detector.watched[name]
		switch {
		case !slices.Contains(gone, InstanceOf(name)):
			w.absent = time.Time{}
		case w.absent.IsZero():
			w.absent = time.Now()
		case asked.Sub(w.absent) >= h.span(absentFor):
			absent = append(absent, name)
		}
		h.detector.watched[name] = w
	}
	return absent
}

// dead returns the other owners whose processes have certainly ended, if the store knows.
func (h *Heartbeat) dead(ctx context.Context, others map[string]backend.Heartbeat) []string {
	w, ok := h.Store.(backend.ProcessWatcher)
	if !ok || len(others) == 0 {
		return nil
	}
	dead, err := w.Dead(ctx, slices.Collect(maps.Keys(others)))
	if err != nil {
		h.Log.Debug("checking for ended processes failed", "error", err)
	}
	return dead
}

// expire declares an owner dead if its counter is still count, and handles its tasks.
func (h *Heartbeat) expire(ctx context.Context, name string, count int64) {
	freed, err := h.Store.ExpireOwner(ctx, name, count, h.MaxCrashes)
	if err != nil {
		return // retried in a second
	}
	delete(h.detector.watched, name)
	if len(freed) > 0 {
		h.Log.Warn("process died, other instances take over its tasks", "owner", name, "tasks", len(freed))
	}
	for _, t := range freed {
		if t.Suspect != nil && t.Suspect.Charged && t.Suspect.Owner == name {
			h.Log.Warn("a process died and this task was the only suspect", "task", t.ID, "queue", t.Queue, "crashes", t.Crashes,
				"max_crashes", t.MaxCrashes)
		}
	}
	h.Moved(name, freed)
}
