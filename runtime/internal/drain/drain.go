// Package drain logs what the shutdown of an App waits for.
package drain

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	every = 5 * time.Second
	ids   = 3 // of running tasks that are logged for each queue
)

// Left is what a drain waits for.
type Left struct {
	Tasks    map[string][]string // the ids of the running tasks, by queue
	Calls    map[string]int      // the number of running handlers, by service
	Messages map[string]int      // the same, by raw queue
	Results  int                 // the number of results that are not written
}

// attrs returns the attributes of a log line; none if nothing is left.
func (l Left) attrs() (attrs []any) {
	tasks := map[string]string{}
	for queue, running := range l.Tasks {
		if n := len(running); n > 0 {
			more := ""
			if n > ids {
				running, more = running[:ids], " …"
			}
			tasks[queue] = fmt.Sprintf("%d (%s%s)", n, strings.Join(running, " "), more)
		}
	}
	for _, kind := range []struct {
		name  string
		items map[string]string
	}{{"tasks", tasks}, {"calls", counts(l.Calls)}, {"messages", counts(l.Messages)}} {
		var items []string
		for _, name := range slices.Sorted(maps.Keys(kind.items)) {
			items = append(items, name+": "+kind.items[name])
		}
		if len(items) > 0 {
			attrs = append(attrs, kind.name, strings.Join(items, " "))
		}
	}
	if l.Results > 0 {
		attrs = append(attrs, "results", l.Results)
	}
	return attrs
}

// counts returns the numbers above 0 as texts.
func counts(numbers map[string]int) map[string]string {
	texts := map[string]string{}
	for name, n := range numbers {
		if n > 0 {
			texts[name] = fmt.Sprint(n)
		}
	}
	return texts
}

// Report logs every 5 s what is left, until done is closed. ctx is that of the drain.
func Report(ctx context.Context, log *slog.Logger, done <-chan struct{}, left func() Left) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	begun := time.Now()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		attrs := left().attrs()
		if len(attrs) == 0 {
			continue
		}
		attrs = append([]any{"waited", time.Since(begun).Round(time.Second)}, attrs...)
		if deadline, ok := ctx.Deadline(); ok {
			attrs = append(attrs, "remaining", max(time.Until(deadline), 0).Round(time.Second))
		}
		log.Info("draining", attrs...)
	}
}
