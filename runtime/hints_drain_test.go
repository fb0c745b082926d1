package runtime_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An App that drains keeps no hints: another one runs their tasks at once.
func TestDrainingAppKeepsNoHints(t *testing.T) {
	for name, before := range map[string]bool{"hints_during_the_drain": false, "hints_before_the_drain": true} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New(memory.HintIDs(4096))
				client := af.NewQueue[int, int](openStarted(t, world), jobWorker)
				w := jobWorker
				w.Max = 1
				release := make(chan struct{})
				first, _ := work(t, world, w, func(_ context.Context, n int) (int, error) {
					<-release
					return n, nil
				})
				must(client.Submit(t.Context(), 1))(t)
				synctest.Wait()
				work(t, world, jobWorker, same)
				time.Sleep(2300 * time.Millisecond)
				var ids []string
				if before {
					ids = must(client.SubmitMany(t.Context(), make([]int, 10)))(t)
					synctest.Wait()
				}
				ended := make(chan error, 1)
				go func() { ended <- first.Shutdown(t.Context()) }()
				synctest.Wait()
				for range 10 {
					begun := time.Now()
					ids = append(ids, must(client.Submit(t.Context(), 1))(t))
					for _, id := range ids {
						must(client.Wait(t.Context(), id))(t)
					}
					if took := time.Since(begun); took > 100*time.Millisecond {
						t.Errorf("took %v", took)
					}
				}
				close(release)
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
