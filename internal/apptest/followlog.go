package apptest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// followLog follows a task from an observer, across two attempts and until its end.
func followLog(w *world) {
	worker := jobWorker
	worker.Retries = 1
	steps := make(chan string)
	w.open(func(a *af.App) {
		af.RegisterWorker(a, worker, &job{func(ctx context.Context, n int) (int, error) {
			for {
				select {
				case text := <-steps:
					if text == "fail" {
						return 0, errors.New("once more")
					}
					if text == "return" {
						return n, nil
					}
					af.LoggerFrom(ctx).Info(text)
				case <-ctx.Done():
					return n, ctx.Err()
				}
			}
		}})
	}, af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	observer := w.open(nil, af.Observer())
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	id := must(af.NewQueue[int, int](observer, worker).Submit(ctx, 1))(w)
	steps <- "before it is followed"
	lines, done := make(chan string, 100), make(chan error, 1)
	go func() {
		defer close(lines)
		for part, err := range observer.FollowLog(ctx, id) {
			for _, line := range part {
				lines <- line
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var all []string
	see := func(text string) {
		w.Helper()
		for line := range lines {
			if all = append(all, line); strings.Contains(line, text) {
				return
			}
		}
		w.Fatalf("the log ended before %q: %v; it had %q", text, <-done, all)
	}
	see("before it is followed")
	begun := time.Now()
	steps <- "first attempt"
	see("first attempt")
	steps <- "at its end"
	steps <- "fail"
	see("at its end")
	steps <- "second attempt"
	see("second attempt")
	steps <- "the last one"
	steps <- "return"
	see("the last one")
	w.Logf("seen in %v", time.Since(begun))
	for line := range lines {
		all = append(all, line)
	}
	w.must(<-done)
	if slices.Sort(all); len(slices.Compact(slices.Clone(all))) != len(all) || len(all) != 7 { // with two heads
		w.Errorf("lines: %q", all)
	}
	if page := must(observer.Instances(ctx, af.InstanceQuery{}))(w); page.Total != 1 {
		w.Errorf("with an observer %d instances are listed", page.Total)
	}
}
