package admin

import (
	"context"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
)

const (
	steadyTasks = 10              // tasks of queries that are read a second
	taskBurst   = 10              // that may be read at once after a quiet time
	endedEvery  = 5 * time.Second // a task that has ended can only be deleted or retried
	unwatched   = 5 * time.Second // after which a task is forgotten that no watcher asks for
)

// taskLooks are the last looks at the tasks of queries, which all watchers share.
type taskLooks struct {
	app *af.App

	mu    sync.Mutex
	byID  map[string]*taskLook
	live  int       // those that have not ended, at the last sweep
	swept time.Time // when those were forgotten that no watcher asks for
	next  time.Time // when a task may be read that does not use what a quiet time has saved
}

// A taskLook is the last look at a task.
type taskLook struct {
	known, exists, ended bool
	sum                  uint64
	read, wanted         time.Time
}

func newTaskLooks(app *af.App) *taskLooks { return &taskLooks{app: app, byID: map[string]*taskLook{}} }

// at returns what a task looks like. ok is false if there is no such task or it was not read yet.
func (l *taskLooks) at(ctx context.Context, id string) (sum uint64, ok bool, err error) {
	t, due := l.find(id)
	if !due {
		return t.sum, t.exists, nil
	}
	doc, err := l.app.GetTask(ctx, id)
	if err != nil && af.CodeOf(err) != af.ErrNotFound {
		return 0, false, err
	}
	t.known, t.exists, t.ended = true, err == nil, err != nil || doc.Status.Final()
	if t.exists {
		t.sum = sumOf(taskState(&doc))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.byID[id]; have != nil {
		t.read, t.wanted = have.read, have.wanted
		*have = t
	}
	return t.sum, t.exists, nil
}

// find returns the last look at a task, and whether the caller must read it.
func (l *taskLooks) find(id string) (t taskLook, due bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	have := l.byID[id]
	if have == nil {
		have = &taskLook{}
		l.byID[id] = have
		l.live++
	}
	have.wanted = now
	every := watchEvery
	switch {
	case !have.known:
		every = 0
	case have.ended:
		every = endedEvery
	case l.live > steadyTasks:
		every = watchEvery * time.Duration(l.live) / steadyTasks
	}
	if due = now.Sub(have.read) >= every*9/10 && l.allowed(now); due {
		have.read = now
	}
	return *have, due
}

// allowed reports whether a task may be read now. The caller has locked mu.
func (l *taskLooks) allowed(now time.Time) bool {
	const interval = time.Second / steadyTasks
	if l.next.Before(now) {
		l.next = now
	}
	if l.next.Sub(now) > (taskBurst-1)*interval {
		return false
	}
	l.next = l.next.Add(interval)
	return true
}

// sweep forgets the tasks that no watcher asks for. The caller has locked mu.
func (l *taskLooks) sweep(now time.Time) {
	if now.Sub(l.swept) < watchEvery {
		return
	}
	l.swept, l.live = now, 0
	for id, t := range l.byID {
		switch {
		case now.Sub(t.wanted) > unwatched:
			delete(l.byID, id)
		case !t.ended:
			l.live++
		}
	}
}
