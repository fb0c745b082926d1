package aftest_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

func TestContextHasTask(t *testing.T) {
	ctx := aftest.Context(t.Context(), af.Running{ID: "42", Queue: "import", Attempt: 3, Fence: 7, Source: "41"})
	r := af.TaskFrom(ctx)
	if r == nil || r.ID != "42" || r.Queue != "import" || r.Attempt != 3 || r.Fence != 7 || r.Source != "41" {
		t.Fatalf("%+v", r)
	}
	r = af.TaskFrom(aftest.Context(t.Context(), af.Running{Attempt: 2}))
	if r.ID == "" || r.Queue == "" || r.Fence != 2 {
		t.Errorf("defaults: %+v", r)
	}
	select {
	case <-af.Draining(ctx):
		t.Error("draining")
	default:
	}
	if in := af.InstanceFrom(ctx); in != (af.Instance{}) {
		t.Error(in)
	}
	other := aftest.Context(t.Context(), af.Running{})
	if err := af.TaskFrom(other).Progress(other, 1); err != nil || len(aftest.Progress[int](ctx)) != 0 {
		t.Errorf("contexts share progress: %v", err)
	}
}

func TestContextRecordsProgress(t *testing.T) {
	type step struct{ Name string }
	ctx := aftest.Context(t.Context(), af.Running{})
	for _, name := range []string{"read", "write"} {
		if err := af.TaskFrom(ctx).Progress(context.WithoutCancel(ctx), step{name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := af.TaskFrom(ctx).Progress(ctx, func() {}); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("progress that does not encode: %v", err)
	}
	if err := af.TaskFrom(ctx).Progress(ctx, strings.Repeat("x", 1<<16)); !errors.Is(err, af.ErrResourceExhausted) {
		t.Errorf("large progress: %v", err)
	}
	if got := aftest.Progress[step](ctx); !slices.Equal(got, []step{{"read"}, {"write"}}) {
		t.Errorf("progress %v", got)
	}
}

func TestMistakesInTestsPanic(t *testing.T) {
	ctx := aftest.Context(t.Context(), af.Running{})
	if err := af.TaskFrom(ctx).Progress(ctx, "half"); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		`aftest: progress "half" is not a int`:               func() { aftest.Progress[int](ctx) },
		"aftest: the context was not made by aftest.Context": func() { aftest.Log(t.Context()) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, name) {
					t.Errorf("%q, want %q", text, name)
				}
			}()
			f()
		}()
	}
}

func TestContextRecordsLog(t *testing.T) {
	var out strings.Builder
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	ctx := aftest.Context(t.Context(), af.Running{ID: "42", Queue: "import"})
	log := af.LoggerFrom(ctx)
	log.Debug("not enabled")
	log.Info("file read", "rows", 100)
	log.With("file", "a.csv").WithGroup("row").Warn("skipped", "number", 7)
	want := []string{`level=INFO msg="file read" rows=100`, `level=WARN msg=skipped file=a.csv row.number=7`}
	if got := aftest.Log(ctx); !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
	if !strings.Contains(out.String(), `msg="file read" queue=import task=42 attempt=1`) {
		t.Errorf("slog.Default got %s", out.String())
	}
}
