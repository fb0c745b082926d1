package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/filter"
)

const (
	bulkFor     = 4 * time.Second // of changes in one request; a button continues
	bulkDry     = 1 * time.Second // of counting
	bulkPage    = 500
	bulkIDs     = 1000
	shownFailed = 50
)

// A bulkPageData is the data of the page of a bulk change: first its dry run, and then its result.
type bulkPageData struct {
	frame
	Op, Line, All, Cursor, Reason string
	IDs                           []string
	Head, Sentence, Button, Back  string
	Dry                           bool
	Matched, Changed              int
	Failed                        []admin.BulkFailure
	MoreFailed                    int
}

// A bulkOp is a change of many tasks.
type bulkOp struct {
	method           string // of admin.API
	many             func(admin.API, context.Context, af.TaskQuery, admin.Action) (admin.BulkResult, error)
	one              func(admin.API, context.Context, string, admin.Action) error
	verb, done, note string
}

var bulkOps = map[string]bulkOp{
	"stop": {"StopTasks", admin.API.StopTasks, admin.API.Stop, "Stop", "stopped",
		"Their subtasks are stopped, too. Tasks that have ended do not change."},
	"retry": {"RetryTasks", admin.API.RetryTasks, retryOne, "Retry", "retried", "Each is submitted again as a new task."},
	"delete": {"DeleteTasks", admin.API.DeleteTasks, admin.API.Delete, "Delete", "deleted",
		"Their payloads, results and logs are deleted."},
}

func retryOne(api admin.API, ctx context.Context, id string, a admin.Action) error {
	_, err := api.Retry(ctx, admin.Retry{ID: id}, a)
	return err
}

// bulk changes many tasks: those with the ids of the form, or all that its filter selects. Without the field sure it
// asks, after a dry run.
func (s *server) bulk(v *viewer, w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	p := bulkPageData{Op: form.Get("op"), Line: form.Get("q"), All: form.Get("all"), Cursor: form.Get("c"),
		Reason: strings.TrimSpace(form.Get("reason")), Dry: form.Get("sure") == "", Back: v.TasksLink(form.Get("q"))}
	p.frame = frame{viewer: v, Nav: "tasks"}
	op, ok := bulkOps[p.Op]
	if !ok {
		return af.NewError(af.ErrInvalidArgument, "The form names no change.")
	}
	if err := v.user.Check(op.method); err != nil {
		return err
	}
	if p.All == "" {
		p.IDs = form["id"]
		if len(p.IDs) == 0 {
			return &changeError{af.NewError(af.ErrInvalidArgument, "No tasks are selected."), p.Back}
		}
		if len(p.IDs) > bulkIDs {
			return af.Errorf(af.ErrInvalidArgument, "%d tasks are selected; at most %d can be.", len(p.IDs), bulkIDs)
		}
	}
	before, _ := strconv.Atoi(form.Get("done")) // what earlier requests have changed, only to show it
	a := admin.Action{Reason: p.Reason, DryRun: p.Dry}
	more, err := p.run(r.Context(), v, op, a)
	if err != nil {
		return &changeError{err, p.Back}
	}
	p.Changed += max(before, 0)
	p.tell(op, more)
	p.Title = p.Head
	return s.render(w, http.StatusOK, "bulk", &p)
}

// run makes the change, or its dry run, as far as it comes in its time. more reports whether there is more to change.
func (p *bulkPageData) run(ctx context.Context, v *viewer, op bulkOp, a admin.Action) (more bool, err error) {
	if p.All == "" {
		for _, id := range p.IDs {
			p.Matched++
			if err := op.one(v.api, ctx, id, a); err != nil {
				if ctx.Err() != nil {
					return false, err
				}
				p.fail(admin.BulkFailure{ID: id, Code: af.CodeOf(err), Message: messageOf(err)})
				continue
			}
			p.Changed++
		}
		return false, nil
	}
	q := af.TaskQuery{}
	if line := strings.TrimSpace(p.Line); line != "" {
		if q, err = filter.Parse(line, v.now); err != nil {
			return false, err
		}
	}
	limit := bulkFor
	if p.Dry {
		limit = bulkDry
	}
	q.Limit, q.Cursor = bulkPage, p.Cursor
	for end := time.Now().Add(limit); ; {
		result, err := op.many(v.api, ctx, q, a)
		if err != nil {
			return false, err
		}
		p.Matched += result.Matched
		p.Changed += result.Changed
		for _, f := range result.Failed {
			p.fail(f)
		}
		if !p.Dry {
			p.Cursor = result.Cursor
		}
		if q.Cursor = result.Cursor; q.Cursor == "" {
			return false, nil
		}
		if time.Now().After(end) {
			return true, nil
		}
	}
}

func (p *bulkPageData) fail(f admin.BulkFailure) {
	if len(p.Failed) < shownFailed {
		p.Failed = append(p.Failed, f)
	} else {
		p.MoreFailed++
	}
}

// tell sets the texts of the page.
func (p *bulkPageData) tell(op bulkOp, more bool) {
	failed := len(p.Failed) + p.MoreFailed
	switch {
	case p.Dry && p.Changed == 0:
		p.Head, p.Sentence = "Nothing to "+p.Op, "No task that is selected can be "+op.done+"."
	case p.Dry:
		n := plural(p.Changed, "task")
		if more {
			n = "at least " + n
		}
		p.Head = op.verb + " " + n + "?"
		p.Sentence = op.note
		p.Button = op.verb + " " + n
		if more {
			p.Sentence += " There are more than could be counted in a second; all of them are " + op.done + "."
		}
	default:
		p.Head = plural(p.Changed, "task") + " " + op.done
		p.Sentence = "All are done."
		if failed > 0 {
			p.Sentence = fmt.Sprintf("%s could not be %s.", plural(failed, "task"), op.done)
		}
		if more {
			p.Sentence += " There are more."
			p.Button = "Continue"
		}
	}
}
