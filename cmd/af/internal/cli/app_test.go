package cli

import (
	"context"
	"log/slog"
	"regexp"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A branching is a worker that submits as many subtasks as its payload says; each of these submits one less.
type branching struct{ queue af.VoidQueue[int] }

func (b *branching) Run(ctx context.Context, n int) error {
	if n == 0 {
		return af.Permanent(af.NewError(af.ErrDataLoss, "a leaf"))
	}
	payloads := make([]int, n)
	for i := range payloads {
		payloads[i] = n - 1
	}
	_, err := b.queue.Subtasks(ctx, af.TaskFrom(ctx).ID, payloads)
	return err
}

// What is read from a running App is printed as what the fake returns.
func TestReadingApp(t *testing.T) {
	ctx := t.Context()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Shutdown(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	w := af.Worker{Name: "branch", Type: "Branch", Max: 4, Weight: 1}
	queue := af.NewVoidQueue[int](app, w)
	af.RegisterVoidWorker(app, w, &branching{queue})
	if err := app.Start(ctx); err != nil {
		t.Fatal(err)
	}
	id, err := queue.Submit(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.WaitTree(ctx, id); err != nil {
		t.Fatal(err)
	}
	api := admin.New(app)
	for _, c := range []struct {
		args  []string
		want  string // a regular expression
		count int
	}{
		{[]string{"tree", id}, `(?m)^(├─|└─) \S+ +branch  success .* 2 success$`, 3},
		{[]string{"tree", id}, `(?m)^(│ | ) +(├─|└─) \S+ +branch  success .* 1 failed$`, 6},
		{[]string{"tree", id}, `(?m)^(│ | ) +(│ | ) +└─ \S+ +branch  failed .*data_loss: a leaf$`, 6},
		{[]string{"tree", id, "-depth", "1"}, `(?m)^(├─|└─)`, 3},
		{[]string{"ls", "source:" + id, "status:success"}, `(?m)^\S+ +branch  success`, 3},
		{[]string{"ls", "code:data_loss", "payload.x=1"}, `.`, 0},
		{[]string{"ls", "code:data_loss", "-limit", "4"}, `(?m)data_loss: a leaf$`, 4},
		{[]string{"get", id}, `(?m)^subtasks +3 success; ended .*: af tree ` + id + `$`, 1},
		{[]string{"get", id}, `(?m)^Payload \(1 B\)\n3$`, 1},
		{[]string{"why", id}, `^It succeeded at`, 1},
	} {
		got := runOn(t, api, terminal{}, c.args...)
		if n := len(regexp.MustCompile(c.want).FindAllString(got.out, -1)); n != c.count {
			t.Errorf("%q prints %s %d times, want %d:\n%s%s", c.args, c.want, n, c.count, got.out, got.err)
		}
	}
}
