package runtime_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/snowflake"
)

func TestSnowflakesOfTwoAppsDiffer(t *testing.T) {
	world := memory.New()
	apps := []*af.App{openStarted(t, world), openStarted(t, world)}
	var mu sync.Mutex
	var all []string
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			last := ""
			for range 500 {
				id, err := apps[i%2].Snowflake(t.Context())
				if err != nil || len(id) != 19 || id <= last {
					t.Errorf("%q after %q, %v", id, last, err)
				}
				last = id
				mu.Lock()
				all = append(all, id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != 8*500 {
		t.Errorf("%d different ids", n)
	}
	// Shutdown releases the node number for the next App.
	first, err := apps[0].Snowflake(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shutdown(t, apps[0])
	if _, err := apps[0].Snowflake(t.Context()); !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("after Shutdown: %v", err)
	}
	next, err := openStarted(t, world).Snowflake(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := node(t, first), node(t, next); a != b {
		t.Errorf("number %d, after %d was released", b, a)
	}
}

func node(t *testing.T, s string) int {
	t.Helper()
	id, err := snowflake.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id.Node()
}

func TestSnowflakeNeedsStartedApp(t *testing.T) {
	app := open(t, memory.New())
	_, err := app.Snowflake(t.Context())
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "not been started")
	start(t, app)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := app.Snowflake(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("its context had ended: %v", err)
	}
}

// Tests of users may run in a bubble, whose clock begins in the year 2000.
func TestSnowflakeWorksInABubble(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := openStarted(t, memory.New())
		last := ""
		for range 3 {
			id, err := app.Snowflake(t.Context())
			if err != nil || id <= last {
				t.Errorf("%q after %q, %v", id, last, err)
			}
			last = id
			time.Sleep(time.Hour)
		}
		shutdown(t, app)
	})
}
