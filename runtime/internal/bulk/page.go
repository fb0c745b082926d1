package bulk

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// A Change is a change of tasks.
type Change struct {
	Applies func(*backend.Task) bool // whether a task needs the change
	// Prepare, if not nil, returns those of the tasks that must be changed.
	Prepare func(context.Context, []backend.Task) ([]backend.Task, error)
	// Change changes a task and reports whether it did.
	Change func(context.Context, *backend.Task) (bool, error)
	// After, if not nil, is called with the ids of the tasks that Change was called with, or might have been.
	After func(ids []string)
}

// Changed is what a Change has done to a page.
type Changed struct {
	Matched int // tasks on the page
	Changed int // those of them that were changed, or would be in a dry run
	Failed  []Failure
	Cursor  string // of the page
}

// A Failure is a task that could not be changed.
type Failure struct {
	ID  string
	Err error
}

// maxFailures bounds the failures in a Changed.
const maxFailures = 100

// Page changes the tasks of a page, or in a dry run only counts those that it would change. Its error is that of
// Prepare, or of Each.
func (c Change) Page(ctx context.Context, page backend.TaskPage, dryRun bool) (Changed, error) {
	var all []backend.Task
	for i := range page.Tasks {
		if t := &page.Tasks[i]; c.Applies(t) {
			all = append(all, t.Head())
		}
	}
	if c.Prepare != nil {
		var err error
		if all, err = c.Prepare(ctx, all); err != nil {
			return Changed{}, err
		}
	}
	result := Changed{Matched: len(page.Tasks), Cursor: page.Cursor}
	if dryRun {
		result.Changed = len(all)
		return result, nil
	}
	done, err := Each(ctx, len(all), func(ctx context.Context, i int) (bool, error) { return c.Change(ctx, &all[i]) })
	if c.After != nil {
		ids := make([]string, len(all))
		for i := range all {
			ids[i] = all[i].ID
		}
		c.After(ids)
	}
	result.Changed = done.Changed
	for _, i := range done.Failed[:min(len(done.Failed), maxFailures)] {
		result.Failed = append(result.Failed, Failure{all[i].ID, done.Errs[i]})
	}
	return result, err
}
