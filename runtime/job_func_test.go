package runtime_test

import (
	"context"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A job without arguments runs at its due times. A task that was submitted when it had arguments runs as well.
func TestHandleJobFunc(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		old := open(t, b)
		af.HandleJob(old, "cleanup", "@yearly", func(context.Context, string) error { return nil },
			af.Arguments("/tmp"), af.AllowIPs("192.0.2.9")) // no instance has this address
		start(t, old)
		waiting := must(old.RunJob(t.Context(), "cleanup"))(t)
		must(0, old.Shutdown(t.Context()))(t)

		runs := make(chan struct{}, 100)
		app := open(t, b, af.IP("192.0.2.9"))
		af.HandleJobFunc(app, "cleanup", "* * * * * *", func(ctx context.Context) error {
			runs <- struct{}{}
			if af.TaskFrom(ctx).Queue != "job.cleanup" {
				t.Errorf("runs as %v", af.TaskFrom(ctx))
			}
			return nil
		})
		start(t, app)
		if task := must(app.WaitTask(t.Context(), waiting))(t); task.Status != af.StatusSuccess {
			t.Errorf("a task with arguments: %v", task)
		}
		for range 5 {
			<-runs
		}
	})
}

func TestHandleJobFuncRefusesArguments(t *testing.T) {
	nothing := func(context.Context) error { return nil }
	for name, tt := range map[string]struct {
		fn    func(context.Context) error
		opt   af.JobOption
		wants string
	}{
		"arguments":     {nothing, af.Arguments(1), `HandleJobFunc "job": the function takes no arguments`},
		"empty":         {nothing, af.Arguments(struct{}{}), `HandleJobFunc "job": the function takes no arguments`},
		"nil_arguments": {nothing, af.Arguments(nil), `HandleJobFunc "job": the function takes no arguments`},
		"nil":           {nil, nil, `the function is nil`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				app := open(t, memory.New())
				af.HandleJobFunc(app, "job", "@daily", tt.fn, tt.opt)
				err := app.Start(t.Context())
				if af.CodeOf(err) != af.ErrInvalidArgument || !strings.Contains(err.Error(), tt.wants) {
					t.Errorf("%v, want %s", err, tt.wants)
				}
			})
		})
	}
}
