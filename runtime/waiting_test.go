package runtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These tests wait for tasks in a handler.

// Waiting fails for a task that can't start before the handler returns, and works for all others.
func TestWaitInHandler(t *testing.T) {
	const (
		plain  = iota
		parent // submits one gated subtask
		itself
		gated
		below          // a subtask of a gated subtask, behind its gate
		now            // a subtask by RunNow
		nowBelow       // a subtask, by RunNow, of a gated subtask
		below2         // the gated subtask of a subtask that runs
		foreign        // another task's gated subtask
		gatedInContext // with a context derived from the handler's
	)
	refused := map[int]bool{itself: true, gated: true, below: true, gatedInContext: true}
	for name, do := range map[string]int{"itself": itself, "gated": gated, "below": below, "now": now,
		"now_below":     nowBelow,
		"below_running": below2, "foreign": foreign, "made_context": gatedInContext} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var q af.Queue[int, int]
				var other []string // subtasks of another task
				handler := func(ctx context.Context, n int) (int, error) {
					me := af.TaskFrom(ctx).ID
					kids := func(source string, n int, opts ...af.SubtaskOption) string {
						return must(q.Subtasks(ctx, source, []int{n}, opts...))(t)[0]
					}
					switch n {
					case plain:
						return 42, nil
					case parent:
						time.Sleep(time.Second)
						return 0, nil
					case itself:
						return q.Wait(ctx, me)
					case gated:
						return q.Wait(ctx, kids(me, plain))
					case below:
						return q.Wait(ctx, kids(kids(me, plain), plain))
					case now:
						return q.Wait(ctx, kids(me, plain, af.RunNow()))
					case nowBelow:
						return q.Wait(ctx, kids(kids(me, plain), plain, af.RunNow()))
					case below2:
						return q.Wait(ctx, kids(kids(me, parent, af.RunNow()), plain))
					case foreign:
						return q.Wait(ctx, other[0])
					case gatedInContext:
						ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
						defer cancel()
						return q.Wait(ctx, kids(me, plain))
					}
					return 0, errors.New("unknown")
				}
				_, q = work(t, memory.New(), jobWorker, handler)
				source := must(q.Submit(t.Context(), parent))(t)
				other = must(q.Subtasks(t.Context(), source, []int{plain}))(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begun := time.Now()
				got, err := q.Wait(ctx, must(q.Submit(ctx, do))(t))
				switch {
				case refused[do] && (!errors.Is(err, af.ErrFailedPrecondition) || time.Since(begun) != 0):
					t.Errorf("%d, %v after %v", got, err, time.Since(begun))
				case refused[do] && do != itself && !strings.Contains(err.Error(), "SubtasksDone"):
					t.Errorf("the error has no advice: %v", err)
				case !refused[do] && (got != 42 || err != nil):
					t.Errorf("%d, %v after %v", got, err, time.Since(begun))
				}
			})
		})
	}
}
