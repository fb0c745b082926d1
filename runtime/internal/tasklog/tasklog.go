// Package tasklog keeps the last log lines of a task's attempts, which are stored with the task.
package tasklog

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Bounds of the stored log.
const (
	keptLines = 20
	keptBytes = 4 << 10 // in total
	keptLine  = 512     // bytes per line
)

// An Attempt describes where a task runs, with the log lines of earlier attempts.
type Attempt struct {
	Number       int
	Instance, IP string
	Before       []string
}

// A Log has the last log lines of a task's handler, of this and earlier attempts. It costs nothing until the first
// line and never writes by itself: the attempt's settlement contains it. The zero Log is empty. It is safe for
// concurrent use.
type Log struct {
	mu      sync.Mutex
	head    string   // where this attempt runs
	lines   []string // oldest first
	count   int      // lines of this attempt, with the head, kept or not
	size    int
	handler slog.Handler
}

// Handler returns a slog.Handler for the attempt's lines.
func (l *Log) Handler(ctx context.Context, a Attempt) slog.Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handler == nil {
		l.begin(ctx, a)
	}
	return l.handler
}

// begin continues the lines of earlier attempts. The caller holds l.mu.
func (l *Log) begin(ctx context.Context, a Attempt) {
	for _, line := range a.Before {
		l.append(backend.Text(line, keptLine))
	}
	options := &slog.HandlerOptions{Level: slog.Level(math.MinInt),
		ReplaceAttr: func(groups []string, at slog.Attr) slog.Attr {
			if len(groups) == 0 && at.Key == slog.TimeKey {
				at.Value = slog.StringValue(at.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
			}
			return at
		}}
	var head bytes.Buffer
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "attempt", 0)
	r.AddAttrs(slog.Int("attempt", a.Number), slog.String("instance", a.Instance), slog.String("ip", a.IP))
	_ = slog.NewTextHandler(&head, options).Handle(ctx, r) // it can't fail
	l.head = cut(head.Bytes())
	l.count = 0
	l.append(l.head)
	l.handler = slog.NewTextHandler((*writer)(l), options)
}

// A writer is a Log for its handler: each Write is a line.
type writer Log

func (w *writer) Write(p []byte) (int, error) {
	l := (*Log)(w)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(cut(p))
	return len(p), nil
}

// append adds a line and drops the oldest ones. The caller holds l.mu.
func (l *Log) append(line string) {
	l.count++
	l.lines = append(l.lines, line)
	l.size += len(line)
	for len(l.lines) > keptLines || l.size > keptBytes {
		l.size -= len(l.lines[0])
		l.lines[0] = ""
		l.lines = l.lines[1:]
	}
}

// Lines returns the lines to store with the task, or nil.
func (l *Log) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return nil
	}
	lines := slices.Clone(l.lines)
	if !slices.Contains(lines, l.head) { // where it ran is worth more than the oldest line
		lines[0] = l.head
	}
	return lines
}

// After returns the lines of this attempt from number n on that are still kept, and the number of the first of them. The
// first line of an attempt, which tells where it runs, has number 0.
func (l *Log) After(n int) (lines []string, first int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first = max(n, l.count-len(l.lines)); first >= l.count {
		return nil, l.count
	}
	return slices.Clone(l.lines[len(l.lines)-(l.count-first):]), first
}

// cut returns a line without its newline, at most keptLine bytes.
func cut(line []byte) string {
	return backend.Text(string(bytes.TrimSuffix(line, []byte("\n"))), keptLine)
}
