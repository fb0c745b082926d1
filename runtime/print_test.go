package runtime_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A handler that logs or prints its own task or its subtasks shows neither the App's internals nor a payload.
func TestRunningAndSubtasksPrintBriefly(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		printed := make(chan string, 2)
		app := open(t, memory.New(), lines.option())
		var q af.Queue[string, int]
		af.RegisterWorker(app, jobWorker, &printing{
			run: func(ctx context.Context) (int, error) {
				r := af.TaskFrom(ctx)
				printed <- fmt.Sprintf("%v %+v", r, r)
				af.LoggerFrom(ctx).Info("begun", "running", r)
				_, err := q.Subtasks(ctx, r.ID, nil)
				return 1, err
			},
			done: func(ctx context.Context, s af.Subtasks) {
				printed <- fmt.Sprintf("%v %+v", s, s)
				af.LoggerFrom(ctx).Info("done", "subtasks", s)
			},
		})
		start(t, app)
		q = af.NewQueue[string, int](app, jobWorker)
		id := must(q.Submit(t.Context(), hidden))(t)
		if got, want := <-printed, `task `+id+` of queue "job", attempt 1`; got != want+" "+want {
			t.Errorf("Running prints %s, want %s twice", got, want)
		}
		if got, want := <-printed, "0 subtasks: 0 succeeded, 0 failed, 0 stopped"; got != want+" "+want {
			t.Errorf("Subtasks prints %s, want %s twice", got, want)
		}
		must(app.WaitTask(t.Context(), id+"/done"))(t)
		for _, want := range []string{
			`"running":{"id":"` + id + `","queue":"job","attempt":1}`,
			`"subtasks":{"total":0,"succeeded":0,"failed":0,"stopped":0}`,
		} {
			if !strings.Contains(lines.String(), want) {
				t.Errorf("missing %s in\n%s", want, lines.String())
			}
		}
		task := must(app.GetTask(t.Context(), id))(t)
		if got := fmt.Sprintf("%v %+v %s", task, &task, lines.String()); strings.Contains(got, hidden) {
			t.Errorf("a payload is printed: %s", got)
		}
	})
	var none *af.Running
	if got := none.String(); got != "" || none.LogValue().Any() != nil {
		t.Errorf("no task prints %q, %v", got, none.LogValue())
	}
}

type printing struct {
	run  func(ctx context.Context) (int, error)
	done func(ctx context.Context, s af.Subtasks)
}

func (p *printing) Run(ctx context.Context, _ string) (int, error) { return p.run(ctx) }

func (p *printing) SubtasksDone(ctx context.Context, _ string, s af.Subtasks) error {
	p.done(ctx, s)
	return nil
}
