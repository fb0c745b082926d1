// Package livelog sends the log lines of running tasks to those who follow them.
//
// A [Follow] tells all processes every followEvery which task it follows, on a topic of the coordinator. The process
// that runs the task then sends the task's new lines on another topic, a few times a second ([Sender]), until it has
// not been told for interest. While nobody follows a task, nothing is sent, and a task costs nothing.
//
// Events may be lost or repeated, and a task that logs faster than lines are sent loses some: each line has a number,
// so that a follower leaves out repeated ones and tells how many are missing. When an attempt ends, its last lines are
// stored with the task, where the follower finds those that it has not seen.
package livelog

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

const (
	// TopicFollow carries the ids of tasks whose lines are wanted.
	TopicFollow = "af.follow"
	topicLines  = "af.lines" // carries events

	followEvery = 2 * time.Second
	interest    = 3 * followEvery
	sendEvery   = 200 * time.Millisecond
	maxFollowed = 100 // tasks of a process; more are ignored
)

// An event has lines of one attempt.
type event struct {
	ID    string   `json:"id"`
	Fence int64    `json:"fence"`
	First int      `json:"first"` // the number of the first line
	Lines []string `json:"lines"`
}

// Lines are the lines of an attempt. They are those of package tasklog.
type Lines interface {
	// After returns the lines from number n on that are still kept, and the number of the first of them.
	After(n int) (lines []string, first int)
}

// A Sender sends the lines of the tasks that run in this process, while someone follows them.
type Sender struct {
	coordinator backend.Coordinator
	running     func(id string) (lines Lines, fence int64)
	changed     signal.Signal

	mu       sync.Mutex
	followed map[string]*followed
}

// A followed is a task that someone follows.
type followed struct {
	until time.Time
	fence int64
	next  int // the number of the next line to send
}

// NewSender returns a Sender. running returns the lines and the fence of a task that runs in this process, or nil.
func NewSender(c backend.Coordinator, running func(id string) (Lines, int64)) *Sender {
	return &Sender{coordinator: c, running: running, changed: signal.New(), followed: map[string]*followed{}}
}

// Heard receives the events of TopicFollow.
func (s *Sender) Heard(text json.RawMessage) {
	var ids []string
	if text == nil || json.Unmarshal(text, &ids) != nil {
		return
	}
	until := time.Now().Add(interest)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if f := s.followed[id]; f != nil {
			f.until = until
			continue
		}
		if lines, _ := s.running(id); lines == nil || len(s.followed) >= maxFollowed {
			continue
		}
		s.followed[id] = &followed{until: until}
		s.changed.Set()
	}
}

// Run sends lines until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	for {
		select {
		case <-s.changed.C():
		case <-ctx.Done():
			return
		}
		for {
			events, more := s.due()
			for _, e := range events {
				s.send(ctx, e)
			}
			if !more {
				break
			}
			if !retry.Sleep(ctx, sendEvery) {
				return
			}
		}
	}
}

// due returns the events to send now, and whether tasks are followed.
func (s *Sender) due() (events []event, more bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.followed {
		lines, fence := s.running(id)
		if now.After(f.until) || lines == nil {
			delete(s.followed, id)
			continue
		}
		if fence != f.fence {
			f.fence, f.next = fence, 0
		}
		if some, first := lines.After(f.next); len(some) > 0 {
			events = append(events, event{id, fence, first, some})
			f.next = first + len(some)
		}
	}
	return events, len(s.followed) > 0
}

// send sends an event. If that fails, the follower finds the lines with the task.
func (s *Sender) send(ctx context.Context, e event) {
	text, err := json.Marshal(e)
	if err != nil {
		return // strings and numbers
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	_ = s.coordinator.Publish(ctx, topicLines, text)
}
