// Package livelog sends the log lines of running tasks to those who follow them.
//
// A [Follow] tells all processes every followEvery which task it follows and which lines it has, on a topic of the
// coordinator. The process that runs the task then sends the task's new lines on another topic, a few times a second
// ([Sender]), until it has not been told for interest. While no caller follows a task, nothing is sent, and a task costs
// nothing.
//
// Events may be lost or repeated: each line has a number, so that a follower leaves out repeated ones, and the Sender
// sends lost ones again when the follower tells what it has. A task that logs faster than lines are sent loses some, and
// the follower tells how many. When an attempt ends, its last lines are stored with the task, where the follower finds
// those that it has not seen.
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
	// TopicFollow carries which lines a follower wants.
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

// A want is what a follower wants to see.
type want struct {
	ID    string `json:"id"`
	Fence int64  `json:"fence"` // of the attempt whose lines it has seen last; 0 if none
	Next  int    `json:"next"`  // the number of the first line of that attempt that it has not seen
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
	lost     int64 // lines
}

// A followed is a task that someone follows.
type followed struct {
	until time.Time
	fence int64
	next  int // the number of the next line to send
	known int // the number of the first line that is neither sent before nor counted as lost
}

// NewSender returns a Sender. running returns the lines and the fence of a task that runs in this process, or nil.
func NewSender(c backend.Coordinator, running func(id string) (Lines, int64)) *Sender {
	return &Sender{coordinator: c, running: running, changed: signal.New(), followed: map[string]*followed{}}
}

// Heard receives the events of TopicFollow.
func (s *Sender) Heard(text json.RawMessage) {
	var w want
	if text == nil || json.Unmarshal(text, &w) != nil || w.Next < 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followed[w.ID]
	if f == nil {
		if lines, _ := s.running(w.ID); lines == nil || len(s.followed) >= maxFollowed {
			return
		}
		f = &followed{}
		s.followed[w.ID] = f
		s.changed.Set()
	}
	f.until = time.Now().Add(interest)
	if w.Fence != f.fence {
		w.Next = 0
	}
	f.next = min(f.next, w.Next)
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
		begun := fence != f.fence
		if begun {
			f.fence, f.next = fence, 0
		}
		some, first := lines.After(f.next)
		if !begun { // lines of the time before it was followed are not lost
			s.lost += int64(max(first-max(f.next, f.known), 0))
		}
		f.known = max(f.known, first)
		if begun {
			f.known = first
		}
		if len(some) > 0 {
			events = append(events, event{id, fence, first, some})
			f.next = first + len(some)
		}
	}
	return events, len(s.followed) > 0
}

// Lost returns how many lines were not sent, since a task logged faster than they are, or since events were lost. A nil
// Sender has lost none.
func (s *Sender) Lost() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
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
