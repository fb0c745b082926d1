package grace_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
)

func TestOutlastEndsLater(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		longer, release := grace.Outlast(ctx, time.Second)
		defer release()
		<-longer.Done()
		if took := time.Since(begun); took != time.Minute+time.Second {
			t.Errorf("ended after %v", took)
		}
		// If the context has already ended, the time counts from now.
		begun = time.Now()
		longer, release = grace.Outlast(ctx, time.Second)
		<-longer.Done()
		release()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestAwaitReturnsWhenContextEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if !grace.Await(ctx, func() {}) {
			t.Error("a function that returns was left behind")
		}
		hang := make(chan struct{})
		defer close(hang)
		if grace.Await(ctx, func() { <-hang }) {
			t.Error("waited for a function that hangs")
		}
	})
}

func TestCloseErrorNamesTheObject(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		broken := errors.New("broken")
		if err := grace.Close(ctx, "the log", func() error { return broken }); !errors.Is(err, broken) ||
			backend.CodeOf(err) != backend.ErrUnknown {
			t.Errorf("an error: %v", err)
		}
		hang := make(chan struct{})
		defer close(hang)
		err := grace.Close(ctx, "the log", func() error { <-hang; return nil })
		if backend.CodeOf(err) != backend.ErrDeadlineExceeded {
			t.Errorf("a hang: %v", err)
		}
	})
}
