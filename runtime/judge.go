package runtime

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// look audits and judges.
func (p *pulse) look(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var deaths <-chan struct{}
	if w, ok := p.e.store.(backend.ProcessWatcher); ok {
		deaths = w.Deaths()
	}
	var hurry <-chan time.Time
	var alarmed time.Time
	judge := func() {
		if doubt := p.judge(ctx); doubt || time.Since(alarmed) < absentAfter+beatEvery {
			hurry = time.After(suspectEvery)
		}
	}
	for n := 1; ; { // beats: begin was the first
		select {
		case <-tick.C:
			n++
		case <-p.alarms:
			if alarmed = time.Now(); hurry == nil {
				judge()
			}
			continue
		case <-hurry:
			hurry = nil
			judge()
			continue
		case <-p.audits:
			p.refund(ctx)
			p.audit(ctx)
			continue
		case <-deaths:
			judge()
			continue
		case <-ctx.Done():
			return
		}
		p.refund(ctx)
		if n%auditEvery == 0 {
			p.audit(ctx)
		}
		judge()
	}
}

// alarm has the counters watched closely for a while: the hint of a task that runs elsewhere was delivered again, as it is when its
// receiver has died.
func (p *pulse) alarm() {
	select {
	case p.alarms <- struct{}{}:
	default:
	}
}

// judge declares dead the owners whose counters have been unchanged for their lease, or for less if their instances are not connected
// either, and those that the store knows to be dead. After an outage of the store the watch starts afresh, so that no owner is
// declared dead for it. doubt reports that it is worth looking again before the next heartbeat.
func (p *pulse) judge(ctx context.Context) (doubt bool) {
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	counts, err := p.e.store.Owners(opCtx)
	now := time.Now()
	if err != nil || now.Sub(p.looked) > p.lease/2 || !p.healthy() {
		clear(p.watched) // also if this process, or a call of it, has hung, or can't beat: others may have been unable to
	}
	if err != nil {
		return false
	}
	p.looked = now
	delete(counts, p.owner())
	for name := range p.watched {
		if _, ok := counts[name]; !ok {
			delete(p.watched, name)
		}
	}
	_, sees := p.e.ports.Transport.(backend.ConnectionChecker)
	var quiet []string
	for name, count := range counts {
		w, ok := p.watched[name]
		if !ok || w.count != count {
			w = watch{count: count, since: now}
			p.watched[name] = w
		}
		doubt = doubt || sees && now.Sub(w.since) > beatEvery/2
		if now.Sub(w.since) >= p.span(absentAfter-absentFor-suspectEvery) {
			quiet = append(quiet, name)
		}
	}
	dead := p.dead(opCtx, counts)
	absent := p.absent(opCtx, quiet)
	for name, count := range counts {
		still := now.Sub(p.watched[name].since)
		switch {
		case slices.Contains(dead, name), still >= p.span(leaseOf(name, p.lease)), still >= p.span(absentAfter) && slices.Contains(absent, name):
			p.convict(opCtx, name, count)
		}
	}
	return doubt
}

// absent returns which of the owners' instances have not been connected with the transport for absentFor, while their counters were
// unchanged.
func (p *pulse) absent(ctx context.Context, owners []string) []string {
	l, ok := p.e.ports.Transport.(backend.ConnectionChecker)
	if !ok || len(owners) == 0 {
		return nil
	}
	instances := make([]string, len(owners))
	for i, name := range owners {
		instances[i] = instanceOf(name)
	}
	asked := time.Now()
	var gone, absent []string
	if p.brisk() { // if the store is slow, a late counter says little about who sends it
		var err error
		if gone, err = l.Absent(ctx, instances); err != nil {
			p.e.log.Debug("not known which instances are connected", "error", err)
			gone = nil
		}
	}
	for _, name := range owners {
		w := p.watched[name]
		switch {
		case !slices.Contains(gone, instanceOf(name)):
			w.absent = time.Time{}
		case w.absent.IsZero():
			w.absent = time.Now()
		case asked.Sub(w.absent) >= p.span(absentFor):
			absent = append(absent, name)
		}
		p.watched[name] = w
	}
	return absent
}

// dead asks a store that is a witness which of the others' processes have ended.
func (p *pulse) dead(ctx context.Context, others map[string]int64) []string {
	w, ok := p.e.store.(backend.ProcessWatcher)
	if !ok || len(others) == 0 {
		return nil
	}
	dead, err := w.Dead(ctx, slices.Collect(maps.Keys(others)))
	if err != nil {
		p.e.log.Debug("whose process has ended is not known", "error", err)
	}
	return dead
}

// convict ends an owner whose counter is still count, and sees to the tasks that it ran.
func (p *pulse) convict(ctx context.Context, name string, count int64) {
	freed, err := p.e.store.ExpireOwner(ctx, name, count, p.e.app.settings.maxCrashes)
	if err != nil {
		return // next second again
	}
	delete(p.watched, name)
	if len(freed) > 0 {
		p.e.log.Warn("a process is dead; its tasks go on elsewhere", "owner", name, "tasks", len(freed))
	}
	for _, t := range freed {
		if t.Suspect != nil && t.Suspect.Charged && t.Suspect.Owner == name {
			p.e.log.Warn("a task was the only suspect in a process that died", "task", t.ID, "queue", t.Queue, "crashes", t.Crashes,
				"max_crashes", t.MaxCrashes)
		}
	}
	p.e.moved(freed)
}
