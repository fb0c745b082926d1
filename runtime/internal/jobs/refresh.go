package jobs

import (
	"context"
	"maps"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	relist         = 5 * time.Second // how often the leader reads all jobs, because events may be lost
	relistFollower = 3 * relist      // the same for other schedulers
	maxReads       = 16              // maximum reads of single jobs; beyond that, all jobs are read at once
)

// refresh updates the known jobs and returns the store's time, or the zero time if there are no jobs.
func (s *Scheduler) refresh(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	began := time.Now()
	s.mu.Lock()
	stale := s.stale
	s.stale = map[string]bool{}
	s.mu.Unlock()
	if stale == nil {
		s.listed = time.Time{}
	}
	if err := s.readStale(ctx, stale); err != nil || len(s.jobs) == 0 {
		return time.Time{}, err
	}
	s.leader.elect(ctx)
	now, err := s.catalog.cfg.Store.Now(ctx)
	if err != nil {
		return now, err
	}
	stale = map[string]bool{}
	for id, j := range s.jobs {
		if !s.leader.leads && j.read.Before(began) && s.isOpen(j, now) { // the leader may have fired it
			stale[id] = true
		}
	}
	return now, s.readStale(ctx, stale)
}

// readStale reads all jobs when due, or else the stale ones.
func (s *Scheduler) readStale(ctx context.Context, stale map[string]bool) error {
	period := relistFollower
	if s.leader.leads || len(s.jobs) == 0 { // without jobs there is no election
		period = relist
	}
	if time.Since(s.listed) >= period || len(stale) > maxReads {
		return s.readAll(ctx)
	}
	for id := range stale {
		began := time.Now()
		j, err := s.catalog.get(ctx, id, s.jobs[id])
		switch backend.CodeOf(err) {
		case "":
			j.read, s.jobs[id] = began, j
		case backend.ErrNotFound:
			if _, ours := s.wrote[id]; ours { // this scheduler may have written the history after its deletion
				s.catalog.deleteHistory(ctx, id)
			}
			fallthrough
		case backend.ErrDataLoss: // logged when all jobs are read
			delete(s.jobs, id)
			delete(s.wrote, id)
		default:
			return err
		}
	}
	return nil
}

// readAll reads all jobs.
func (s *Scheduler) readAll(ctx context.Context) error {
	began := time.Now()
	all, err := s.catalog.all(ctx, "", s.jobs)
	if err != nil {
		return err
	}
	s.jobs, s.listed = make(map[string]*Document, len(all)), began
	for _, j := range all {
		j.read, s.jobs[j.id] = began, j
	}
	maps.DeleteFunc(s.failed, func(id string, _ *failure) bool { return s.jobs[id] == nil })
	for id := range s.wrote {
		if s.jobs[id] == nil {
			s.markStale(id)
		}
	}
	return nil
}
