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
	if w, ok := p.e.store.(backend.Witness); ok {
		deaths = w.Deaths()
	}
	var hurry <-chan time.Time
	var alarmed time.Time
	judge := func() {
		if doubt := p.judge(ctx); doubt || time.Since(alarmed) < suspectAfter+beatEvery {
			hurry = time.After(suspectEvery)
		}
	}
	for n := 1; ; { // beats: begin was the first
		select {
		case <-tick.C:
			n++
		case <-p.alarms:
			if alarmed = time.Now(); hurry == nil {
				judge() // from now on at the latest the suspect's counter is watched
			}
			continue
		case <-hurry:
			hurry = nil
			judge()
			continue
		case <-p.audits:
			p.audit(ctx)
			continue
		case <-deaths:
			judge()
			continue
		case <-ctx.Done():
			return
		}
		if n%auditEvery == 0 {
			p.audit(ctx)
		}
		judge()
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

// judge convicts the owners whose counters have stood still for a lease, or for less where more speaks against them, and
// those that the store knows to be dead. After an outage of the store the watch starts afresh, so that nobody is convicted
// for it. doubt says that it is worth looking again before the next beat.
func (p *pulse) judge(ctx context.Context) (doubt bool) {
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	counts, err := p.e.store.Owners(opCtx)
	now := time.Now()
	if err != nil || now.Sub(p.looked) > p.lease/2 || !p.healthy() {
		clear(p.watched) // also where this process, or a call of it, has hung, or can't beat: others may have been unable to
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
	_, sees := p.e.ports.Transport.(backend.Lookout)
	var quiet []string
	for name, count := range counts {
		w, ok := p.watched[name]
		if !ok || w.count != count {
			w = watch{count, now}
			p.watched[name] = w
		}
		doubt = doubt || sees && now.Sub(w.since) > beatEvery/2
		if now.Sub(w.since) >= absentAfter {
			quiet = append(quiet, name)
		}
	}
	dead := p.dead(opCtx, counts)
	var absent []string
	if p.brisk() {
		absent = p.absent(opCtx, quiet)
	}
	for name, count := range counts {
		w := p.watched[name]
		still := now.Sub(w.since)
		switch {
		case slices.Contains(dead, name), slices.Contains(absent, name), still >= p.lease, still >= suspectAfter && p.suspected(opCtx, name, w.since):
			p.convict(opCtx, name, count)
		}
	}
	return doubt
}

// absent asks a transport that is a lookout which of the owners' instances are not connected with it.
func (p *pulse) absent(ctx context.Context, owners []string) []string {
	l, ok := p.e.ports.Transport.(backend.Lookout)
	if !ok || len(owners) == 0 {
		return nil
	}
	instances := make([]string, len(owners))
	for i, name := range owners {
		instances[i] = instanceOf(name)
	}
	gone, err := l.Absent(ctx, instances)
	if err != nil {
		p.e.log.Debug("who is connected is not known", "error", err)
		return nil
	}
	return slices.DeleteFunc(slices.Clone(owners), func(name string) bool { return !slices.Contains(gone, instanceOf(name)) })
}

// dead asks a store that is a witness which of the others' processes have ended.
func (p *pulse) dead(ctx context.Context, others map[string]int64) []string {
	w, ok := p.e.store.(backend.Witness)
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
