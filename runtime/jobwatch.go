package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/internal/retry"
)

// prepare brings what is known of the jobs up to date, and returns the store's time.
func (s *scheduler) prepare(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	began := time.Now()
	s.mu.Lock()
	old := s.old
	s.old = map[string]bool{}
	s.mu.Unlock()
	if old == nil {
		s.listed = time.Time{}
	}
	if err := s.read(ctx, old); err != nil || len(s.jobs) == 0 {
		return time.Time{}, err
	}
	s.lead(ctx)
	now, err := s.e.store.Now(ctx)
	if err != nil {
		return now, err
	}
	old = map[string]bool{}
	for id, j := range s.jobs {
		if !s.leads && j.read.Before(began) && s.open(j, now) { // the leader may have been there
			old[id] = true
		}
	}
	return now, s.read(ctx, old)
}

// read reads all jobs, if it is time, or else those in old.
func (s *scheduler) read(ctx context.Context, old map[string]bool) error {
	often := relistLate
	if s.leads || len(s.jobs) == 0 { // who leads is not asked where there are none
		often = relist
	}
	if time.Since(s.listed) >= often || len(old) > maxReads {
		return s.list(ctx)
	}
	for id := range old {
		began := time.Now()
		j, err := s.e.readJob(ctx, id)
		switch CodeOf(err) {
		case "":
			j.read, s.jobs[id] = began, j
		case ErrNotFound:
			if _, ours := s.wrote[id]; ours { // perhaps in its history, after that was deleted
				s.e.dropHistory(ctx, id)
			}
			fallthrough
		case ErrDataLoss: // logged when all are read
			delete(s.jobs, id)
			delete(s.wrote, id)
		default:
			return err
		}
	}
	return nil
}

// list reads all jobs.
func (s *scheduler) list(ctx context.Context) error {
	began := time.Now()
	all, err := s.e.readJobs(ctx, "")
	if err != nil {
		return err
	}
	s.jobs, s.listed = make(map[string]*jobDoc, len(all)), began
	for _, j := range all {
		j.read, s.jobs[j.id] = began, j
	}
	for id := range s.wrote {
		if s.jobs[id] == nil {
			s.again(id)
		}
	}
	return nil
}

// lead finds out whether this scheduler leads: it has the least name of those that are announced. Where that isn't
// known, it does.
func (s *scheduler) lead(ctx context.Context) {
	if time.Since(s.announced) < announceEvery {
		return
	}
	self := s.e.app.instance.ID
	s.leads = true
	if err := s.e.ports.Coordinator.Announce(ctx, leaderKind, self, []byte("{}")); err != nil {
		return
	}
	present, err := s.e.ports.Coordinator.Present(ctx, leaderKind)
	if err != nil {
		return
	}
	s.announced = time.Now()
	for name := range present {
		s.leads = s.leads && self <= name
	}
}

// lag is by how much this scheduler is late.
func (s *scheduler) lag() time.Duration {
	if s.leads {
		return 0
	}
	return lagBehind
}
