package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/afgen/afgen/runtime/internal/retry"
)

// checkJobs returns what is wrong with the jobs that workers declare.
func checkJobs(workers []WorkerSpec) (errs []error) {
	queues := map[string]string{}
	for _, w := range workers {
		for _, j := range w.Jobs {
			if _, err := contentOf(j); err != nil {
				errs = append(errs, err)
			}
			if other, twice := queues[j.ID]; twice {
				errs = append(errs, Errorf(ErrAlreadyExists, "job %q is declared twice: for the queues %q and %q", j.ID, other, w.Name))
			}
			queues[j.ID] = w.Name
		}
	}
	return errs
}

// startJobs puts the jobs that the program declares, removes those of its workers that it no longer declares, and
// begins to fire. Programs of two versions that run side by side each do so once, when they start: the last one to
// start prevails. Where the documents can't be reached it goes on trying, and the App starts.
func (e *engine) startJobs(ctx context.Context, workers []WorkerSpec) error {
	declared := map[string]bool{}
	for _, w := range workers {
		for _, j := range w.Jobs {
			declared[j.ID] = true
		}
	}
	if e.ports.Docs == nil {
		if len(declared) > 0 {
			return noDocs(e.ports.Name)
		}
		return nil
	}
	errs := e.declareJobs(ctx, workers, declared)
	if len(errs) > 0 && (hopeless(errs) || ctx.Err() != nil) {
		return errors.Join(errs...)
	}
	if len(errs) > 0 {
		e.tasks.LogUnavailable("the declared jobs are not put yet; trying again", errors.Join(errs...))
		e.tasks.Go(func(ctx context.Context) { e.declareLater(ctx, workers, declared) })
	}
	if !e.app.settings.idle {
		e.sched.start()
	}
	return nil
}

// declareJobs puts the declared jobs, and removes those that no longer are. It may be repeated.
func (e *engine) declareJobs(ctx context.Context, workers []WorkerSpec, declared map[string]bool) (errs []error) {
	for _, w := range workers {
		for _, j := range w.Jobs {
			if err := e.putJob(ctx, j); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(workers) > 0 {
		if err := e.dropJobs(ctx, workers, declared); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// declareLater goes on declaring jobs until it has succeeded, or can't.
func (e *engine) declareLater(ctx context.Context, workers []WorkerSpec, declared map[string]bool) {
	for retry.Sleep(ctx, retry.Jitter(retry.MaxPoll)) {
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		errs := e.declareJobs(opCtx, workers, declared)
		cancel()
		if ctx.Err() == nil && hopeless(errs) {
			e.log.Error("the declared jobs can't be put", "error", errors.Join(errs...))
		}
		if len(errs) == 0 || hopeless(errs) {
			return
		}
	}
}

// hopeless says whether something will not come right by waiting.
func hopeless(errs []error) bool {
	return slices.ContainsFunc(errs, func(err error) bool { return !retry.Unavailable(err) })
}

// dropJobs removes the declared jobs of workers that are no longer declared.
func (e *engine) dropJobs(ctx context.Context, workers []WorkerSpec, declared map[string]bool) error {
	stored, err := e.readJobs(ctx, "")
	if err != nil {
		return fmt.Errorf("reading the jobs: %w", err)
	}
	for _, j := range stored {
		ours := slices.ContainsFunc(workers, func(w WorkerSpec) bool { return w.Name == j.Queue })
		if j.Declared && ours && !declared[j.id] {
			e.log.Info("a job is no longer declared, and removed", "job", j.id)
			if err := e.removeJob(ctx, j.id, func(is *jobDoc) bool { return is.Declared && is.Queue == j.Queue }); err != nil {
				return err
			}
		}
	}
	return nil
}
