package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Program has the jobs and queues that a program declares.
type Program struct {
	Jobs   []Spec   // the declared jobs, with Declared set
	Queues []string // the queues of its workers
}

func (p Program) declares(id string) bool {
	return slices.ContainsFunc(p.Jobs, func(j Spec) bool { return j.ID == id })
}

// Declare stores a program's declared jobs, removes declared jobs of its queues that it no longer declares, and
// starts the scheduler unless Config.Idle is set. Call it once. If two versions of a program run at the same time,
// the last one to start wins. If the documents are unavailable, Declare returns nil and retries in the background.
func (s *Scheduler) Declare(ctx context.Context, p Program) error {
	if s.catalog.cfg.Docs == nil {
		if len(p.Jobs) > 0 {
			return s.catalog.unimplemented()
		}
		return nil
	}
	errs := s.catalog.declare(ctx, p)
	if len(errs) > 0 && (hopeless(errs) || ctx.Err() != nil) {
		return errors.Join(errs...)
	}
	if len(errs) > 0 {
		s.catalog.cfg.Unavailable("storing declared jobs failed, retrying", errors.Join(errs...))
		s.background.Go(func() { s.catalog.declareLater(s.catalog.cfg.Context, p) })
	}
	if !s.catalog.cfg.Idle {
		return s.Start()
	}
	return nil
}

// declare stores the declared jobs and removes obsolete ones. It is idempotent.
func (c *Catalog) declare(ctx context.Context, p Program) (errs []error) {
	for _, j := range p.Jobs {
		if err := c.Put(ctx, j, Action{}); err != nil {
			errs = append(errs, err)
		}
	}
	if len(p.Queues) > 0 {
		if err := c.removeUndeclared(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// declareLater retries declare until it succeeds, fails permanently, or ctx ends.
func (c *Catalog) declareLater(ctx context.Context, p Program) {
	for retry.Sleep(ctx, retry.Jitter(retry.MaxPoll)) {
		opCtx, cancel := context.WithTimeout(ctx, opTimeout)
		errs := c.declare(opCtx, p)
		cancel()
		if ctx.Err() == nil && hopeless(errs) {
			c.cfg.Log.Error("storing declared jobs failed", "error", errors.Join(errs...))
		}
		if len(errs) == 0 || hopeless(errs) {
			return
		}
	}
}

// hopeless reports whether any of the errors is permanent.
func hopeless(errs []error) bool {
	return slices.ContainsFunc(errs, func(err error) bool { return !retry.Unavailable(err) })
}

// removeUndeclared removes the declared jobs of a program's queues that the program no longer declares.
func (c *Catalog) removeUndeclared(ctx context.Context, p Program) error {
	stored, err := c.All(ctx, "")
	if err != nil {
		return fmt.Errorf("read jobs: %w", err)
	}
	for _, j := range stored {
		if j.Declared && slices.Contains(p.Queues, j.Queue) && !p.declares(j.id) {
			c.cfg.Log.Info("removed a job that is no longer declared", "job", j.id)
			if err := c.remove(ctx, j.id, func(is *Document) bool { return is.Declared && is.Queue == j.Queue }); err != nil {
				return err
			}
		}
	}
	return nil
}
