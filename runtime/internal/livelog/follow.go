package livelog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	readEvery = time.Second // how often a follower reads the task, which shows that an attempt has ended
	maxEvents = 64          // received and not delivered yet; more are dropped, and their lines reported as omitted
	maxNumber = 1 << 40     // of a line: events come from other processes
	maxSeen   = 40          // delivered lines that are compared with stored ones: more than a task stores
)

// A Source is what a Follow reads.
type Source struct {
	Coordinator backend.Coordinator
	Bus         *pubsub.Bus
	Get         func(ctx context.Context) (backend.Task, error) // the task
	Closing     context.Context                                 // of the App
}

// Follow calls yield with the lines of a task until the task has ended, yield returns false, ctx or the App ends, or the
// task can't be read. It returns nil in the first two cases. While the store is unavailable it continues.
func Follow(ctx context.Context, id string, s Source, yield func(lines []string) bool) error {
	t, err := s.Get(ctx)
	if err != nil {
		return err
	}
	f := follower{yield: yield}
	if !f.stored(&t) || t.Status.Final() {
		return nil
	}
	events := make(chan event, maxEvents)
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Bus.Subscribe(topicLines, func(text json.RawMessage) {
			var e event
			if text == nil || json.Unmarshal(text, &e) != nil || e.ID != id || e.First < 0 || e.First > maxNumber {
				return
			}
			select {
			case events <- e:
			default:
			}
		})(inner)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	interested, read := time.NewTicker(followEvery), time.NewTicker(readEvery)
	defer interested.Stop()
	defer read.Stop()
	s.tell(ctx, want{id, f.fence, f.next})
	for {
		select {
		case e := <-events:
			if !f.live(e) {
				return nil
			}
		case <-interested.C:
			s.tell(ctx, want{id, f.fence, f.next})
		case <-read.C:
			t, err := s.Get(ctx)
			if retry.Unavailable(err) {
				continue
			}
			if err != nil {
				return err
			}
			if !f.stored(&t) || t.Status.Final() {
				return nil
			}
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "following the log of task %s: %w", id, context.Cause(ctx))
		case <-s.Closing.Done():
			return backend.Errorf(backend.ErrUnavailable, "app shut down while following the log of task %s", id)
		}
	}
}

// tell tells the processes which lines a follower wants. If that fails, only stored lines are seen until the next time.
func (s *Source) tell(ctx context.Context, w want) {
	text, err := json.Marshal(w)
	if err != nil {
		return // strings and numbers
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	_ = s.Coordinator.Publish(ctx, TopicFollow, text)
}

// A follower delivers each line of a task once.
type follower struct {
	yield func(lines []string) bool
	log   []string // of the task, as stored when it was last read
	seen  []string // the last delivered lines
	fence int64    // of the attempt whose lines were received last
	next  int      // the number of its next line
	ended int64    // the fence of the last attempt whose lines are stored
}

func (f *follower) deliver(lines []string) bool {
	if len(lines) == 0 {
		return true
	}
	f.seen = append(f.seen, lines...)
	f.seen = slices.Clone(f.seen[max(0, len(f.seen)-maxSeen):])
	return f.yield(lines)
}

// live delivers the lines of an event.
func (f *follower) live(e event) bool {
	switch {
	case e.Fence < f.fence, e.Fence <= f.ended:
		return true
	case e.Fence > f.fence:
		f.fence, f.next = e.Fence, 0
	}
	lines := e.Lines[min(len(e.Lines), max(0, f.next-e.First)):]
	if len(lines) == 0 {
		return true
	}
	if missing := e.First - f.next; missing > 0 {
		lines = slices.Insert(slices.Clone(lines), 0, omitted(missing))
	}
	f.next = e.First + len(e.Lines)
	return f.deliver(lines)
}

func omitted(n int) string { return fmt.Sprintf("… %d lines omitted", n) }

// stored delivers those lines of a task's stored log that were not delivered. They are the ones after the last line that
// was, or all of them if lines between these were dropped. The first line, which tells where the last attempt ran, is
// kept when lines after it are dropped.
func (f *follower) stored(t *backend.Task) bool {
	if slices.Equal(t.Log, f.log) {
		return true
	}
	f.log = t.Log
	if f.ended = t.Fence; t.Status == backend.StatusRunning {
		f.ended--
	}
	rest, first := t.Log, -1 // the last line that was delivered
	for i, line := range slices.Backward(t.Log) {
		if slices.Contains(f.seen, line) {
			rest, first = t.Log[i+1:], i
			break
		}
	}
	dropped := first <= 0 && f.fence == f.ended && f.next > first+1 // lines of the attempt after this one were delivered
	if dropped && len(rest) > 0 {
		rest = slices.Insert(slices.Clone(rest), 0, "… lines omitted")
	}
	return f.deliver(rest)
}
