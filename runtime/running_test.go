package runtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
)

// A unit test calls a handler directly, without an App.
func TestHandlerRunsWithoutApp(t *testing.T) {
	ctx := context.Background()
	task := af.TaskFrom(ctx)
	if task != nil {
		t.Fatalf("TaskFrom outside of a handler: %v", task.ID)
	}
	if err := task.Progress(ctx, 50); err != nil {
		t.Errorf("progress: %v", err)
	}
	if err := task.Progress(ctx, make(chan int)); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("progress that does not encode: %v", err)
	}
	if err := task.Progress(ctx, strings.Repeat("x", 64<<10)); !errors.Is(err, af.ErrResourceExhausted) {
		t.Errorf("progress of 64 KiB: %v", err)
	}
	if err := (&af.Running{ID: "1"}).Progress(ctx, 50); err != nil {
		t.Errorf("progress of a literal: %v", err)
	}
	af.LoggerFrom(ctx).DebugContext(ctx, "outside of a handler")
	select {
	case <-af.Draining(ctx):
		t.Error("draining outside of a handler")
	default:
	}
	if in, trace, md := af.InstanceFrom(ctx), af.TraceFrom(ctx), af.MetadataFrom(ctx); in != (af.Instance{}) ||
		trace != "" || md != nil {
		t.Error(in, trace, md)
	}
}
