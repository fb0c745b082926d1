package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A job is disabled, enabled, run manually and removed, and its history shows so.
func TestJobLifecycle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		from := time.Now()
		ctx := t.Context()
		must(0, q.Schedule(ctx, "a", "@every 10s", 1))(t)
		must(0, q.Schedule(ctx, "b", "0 30 4 * * *", 2, af.Disabled(), af.Zone("Europe/Berlin"),
			af.AllowIPs("10.0.0.9/8", "::1")))(t)
		time.Sleep(25 * time.Second)
		must(0, app.DisableJob(ctx, "a"))(t)
		time.Sleep(time.Minute)
		hand := must(app.RunJob(ctx, "a"))(t)
		must(0, app.EnableJob(ctx, "a"))(t)
		time.Sleep(10 * time.Second)
		tasks := jobTasks(t, b, "job")
		if tasks[hand].Status != af.StatusSuccess || string(tasks[hand].Payload) != "1" {
			t.Errorf("run manually: %+v", tasks[hand])
		}
		delete(tasks, hand)
		wantFires(t, tasks, "a", from, 10, 20, 90) // nothing was missed meanwhile

		first := must(app.Fires(ctx, af.FireQuery{Job: "a", Limit: 3}))(t)
		rest := must(app.Fires(ctx, af.FireQuery{Job: "a", Limit: 3, Cursor: first.Cursor}))(t)
		var got []string
		for _, f := range append(first.Fires, rest.Fires...) {
			got = append(got, f.TaskID)
		}
		want := []string{fmt.Sprint("job/a/", from.Unix()+90), hand, fmt.Sprint("job/a/", from.Unix()+20),
			fmt.Sprint("job/a/", from.Unix()+10)}
		if !slices.Equal(got, want) || first.Total != 4 || rest.Cursor != "" {
			t.Errorf("history %v, want %v; %+v", got, want, rest)
		}

		page := must(app.Jobs(ctx, af.JobQuery{Limit: 1, Sort: af.JobsByNext}))(t)
		if page.Total != 2 || page.Jobs[0].ID != "a" {
			t.Errorf("%+v", page)
		}
		page = must(app.Jobs(ctx, af.JobQuery{Limit: 1, Sort: af.JobsByNext, Cursor: page.Cursor}))(t)
		if j := page.Jobs[0]; j.ID != "b" || !j.Next.IsZero() || !j.Disabled || j.Zone != "Europe/Berlin" ||
			!slices.Equal(j.Allow, []string{"10.0.0.0/8", "::1"}) {
			t.Errorf("%+v", page)
		}
		no := false
		if page := must(app.Jobs(ctx, af.JobQuery{Disabled: &no}))(t); len(page.Jobs) != 1 {
			t.Errorf("enabled: %+v", page)
		}

		must(app.RunJob(ctx, "b"))(t)
		all := must(app.Fires(ctx, af.FireQuery{Limit: 4}))(t)
		if len(all.Fires) != 4 || all.Total != 5 || all.Fires[0].Job != "b" && all.Fires[1].Job != "b" || all.Cursor == "" {
			t.Errorf("of all jobs: %+v", all)
		}
		oldest := must(app.Fires(ctx, af.FireQuery{Job: "a", Sort: af.FiresOldest, Limit: 3}))(t)
		oldest.Fires = append(oldest.Fires,
			must(app.Fires(ctx, af.FireQuery{Job: "a", Sort: af.FiresOldest, Cursor: oldest.Cursor}))(t).Fires...)
		slices.Reverse(oldest.Fires)
		if got, want := oldest.Fires, append(first.Fires, rest.Fires...); oldest.Total != 4 || !reflect.DeepEqual(got, want) {
			t.Errorf("the oldest first: %+v, want the reverse of %+v", got, want)
		}
		if _, err := app.Fires(ctx, af.FireQuery{Sort: "best"}); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("another order: %v", err)
		}
		since := must(app.Fires(ctx, af.FireQuery{Job: "a", After: from.Add(time.Minute),
			Before: from.Add(88 * time.Second)}))(t)
		if since.Total != 1 || since.Fires[0].TaskID != hand {
			t.Errorf("of a minute: %+v", since)
		}

		must(0, app.RemoveJob(ctx, "a"))(t)
		must(0, app.RemoveJob(ctx, "a"))(t)
		time.Sleep(time.Minute)
		if n := len(jobTasks(t, b, "job")); n != 5 {
			t.Errorf("%d tasks after the removal, want 5", n)
		}
		for what, err := range map[string]error{
			"job":     errorOf(app.Job(ctx, "a")),
			"fires":   errorOf(app.Fires(ctx, af.FireQuery{Job: "a"})),
			"run":     errorOf(app.RunJob(ctx, "a")),
			"enable":  app.EnableJob(ctx, "a"),
			"disable": app.DisableJob(ctx, "a"),
		} {
			wantJobError(t, what, err, af.ErrNotFound)
		}
	})
}

func errorOf[T any](_ T, err error) error { return err }

func wantJobError(t *testing.T, what string, err error, code af.Code) {
	t.Helper()
	if af.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestInvalidJobIsRejected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		for _, c := range []struct {
			id, cron string
			opt      af.JobOption
			says     string
		}{
			{"", "* * * * *", nil, "id must have"},
			{strings.Repeat("x", 201), "* * * * *", nil, "id must have"},
			{"a", "* * * *", nil, "field count 4"},
			{"a", "* * 30 2 *", nil, "never due"},
			{"a", "* * * * *", af.Zone("Mars/Olympus"), "unknown time zone"},
			{"a", "* * * * *", af.AllowIPs("localhost"), "neither an ip nor a network"},
			{"a", "* * * * *", af.Missed("sometimes"), "unknown missed-run policy"},
			{"a", "* * * * *", af.Overlap("sometimes"), "unknown overlap policy"},
			{"a", "* * * * *", af.MissedWindow(-1), "negative"},
		} {
			err := q.Schedule(t.Context(), c.id, c.cron, 1, c.opt)
			wantJobError(t, c.says, err, af.ErrInvalidArgument)
			if says := strings.Replace(c.says, "four", "4", 1); err == nil ||
				!strings.Contains(err.Error(), strings.TrimSuffix(says, "five")) {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
		}
		if page := must(app.Jobs(t.Context(), af.JobQuery{}))(t); page.Total != 0 {
			t.Errorf("%+v", page)
		}
	})
}
