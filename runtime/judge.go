package runtime

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// look audits and judges.
func (p *pulse) look(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var deaths <-chan struct{}
	if w, ok := p.e.store.(backend.Witness); ok {
		deaths = w.Deaths()
	}
	var hurry <-chan time.Time
	var alarmed time.Time
	for n := 1; ; { // beats: begin was the first
		select {
		case <-tick.C:
			n++
		case <-p.alarms:
			if alarmed = time.Now(); hurry == nil {
				p.judge(ctx) // from now on at the latest the suspect's counter is watched
				hurry = time.After(suspectEvery)
			}
			continue
		case <-hurry:
			p.judge(ctx)
			if hurry = nil; time.Since(alarmed) < suspectAfter+beatEvery {
				hurry = time.After(suspectEvery)
			}
			continue
		case <-p.audits:
			p.audit(ctx)
			continue
		case <-deaths:
			p.judge(ctx)
			continue
		case <-ctx.Done():
			return
		}
		if n%auditEvery == 0 {
			p.audit(ctx)
		}
		p.judge(ctx)
	}
}

// suspect notes that the hint of a task that runs elsewhere was delivered again: its owner may be dead.
func (p *pulse) suspect(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.suspects) >= maxWindow {
		return
	}
	p.suspects[id] = time.Now()
	select {
	case p.alarms <- struct{}{}:
	default:
	}
}

// suspected says whether an owner whose counter stands still since then runs a task by which it is suspected. Who has beaten
// after a suspicion isn't meant by it: the task has come to him from whoever was. Suspicions are forgotten after a lease: by
// then whoever was meant has been judged.
func (p *pulse) suspected(ctx context.Context, owner string, since time.Time) bool {
	p.mu.Lock()
	for id, since := range p.suspects {
		if time.Since(since) > p.lease {
			delete(p.suspects, id)
		}
	}
	none := len(p.suspects) == 0
	p.mu.Unlock()
	if none {
		return false
	}
	owned, err := p.e.store.Owned(ctx, owner)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(owned, func(o backend.Owned) bool {
		at, ok := p.suspects[o.ID]
		return ok && since.Sub(at) < beatEvery // a beat that was under way may have been seen later
	})
}

// judge convicts the owners whose counters have stood still for a lease, and those that the store knows to be dead. After
// an outage of the store the watch starts afresh, so that nobody is convicted for it.
func (p *pulse) judge(ctx context.Context) {
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	counts, err := p.e.store.Owners(opCtx)
	now := time.Now()
	if err != nil || now.Sub(p.looked) > p.lease/2 || !p.healthy() {
		clear(p.watched) // also where this process, or a call of it, has hung, or can't beat: others may have been unable to
	}
	if err != nil {
		return
	}
	p.looked = now
	for name := range p.watched {
		if _, ok := counts[name]; !ok {
			delete(p.watched, name)
		}
	}
	dead := p.dead(opCtx, counts)
	for name, count := range counts {
		w, ok := p.watched[name]
		if !ok || w.count != count {
			w = watch{count, now}
			p.watched[name] = w
		}
		still := now.Sub(w.since)
		switch {
		case name == p.owner():
		case slices.Contains(dead, name), still >= p.lease, still >= suspectAfter && p.suspected(opCtx, name, w.since):
			p.convict(opCtx, name, count)
		}
	}
}

// dead asks a store that is a witness which of the other owners' processes have ended.
func (p *pulse) dead(ctx context.Context, counts map[string]int64) []string {
	w, ok := p.e.store.(backend.Witness)
	if !ok {
		return nil
	}
	var others []string
	for name := range counts {
		if name != p.owner() {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return nil
	}
	dead, err := w.Dead(ctx, others)
	if err != nil {
		p.e.log.Debug("whose process has ended is not known", "error", err)
	}
	return dead
}

// convict ends an owner whose counter is still count, and sees to the tasks that it ran.
func (p *pulse) convict(ctx context.Context, name string, count int64) {
	freed, err := p.e.store.Judge(ctx, name, count, maxCrashes)
	if err != nil {
		return // next second again
	}
	delete(p.watched, name)
	if len(freed) > 0 {
		p.e.log.Warn("a process is dead; its tasks go on elsewhere", "owner", name, "tasks", len(freed))
	}
	p.e.moved(p.e.ctx, freed)
}
