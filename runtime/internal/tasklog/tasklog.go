// Package tasklog keeps the last lines that the attempts of a task have logged, for the task's document.
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

// What of a task's log is kept with it.
const (
	keptLines = 20
	keptBytes = 4 << 10 // together
	keptLine  = 512     // bytes of one
)

// An Attempt is where a task runs, and what the attempts before have logged.
type Attempt struct {
	Number       int
	Instance, IP string
	Before       []string
}

// A Log has the last lines that the handler of a task has logged, this attempt's and those before. It costs nothing until the
// first line, and no write of its own ever: the attempt's settle carries it. The zero Log is empty. It is safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	head    string   // where this attempt runs
	lines   []string // oldest first
	size    int
	handler slog.Handler
}

// Handler returns the handler of the attempt's lines.
func (l *Log) Handler(ctx context.Context, a Attempt) slog.Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handler == nil {
		l.begin(ctx, a)
	}
	return l.handler
}

// begin continues the lines of the attempts before. l.mu is held.
func (l *Log) begin(ctx context.Context, a Attempt) {
	for _, line := range a.Before {
		l.append(backend.Text(line, keptLine))
	}
	options := &slog.HandlerOptions{Level: slog.Level(math.MinInt), ReplaceAttr: func(groups []string, at slog.Attr) slog.Attr {
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
	l.append(l.head)
	l.handler = slog.NewTextHandler((*writer)(l), options)
}

// A writer is a Log as its handler sees it: each Write is a line.
type writer Log

func (w *writer) Write(p []byte) (int, error) {
	l := (*Log)(w)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(cut(p))
	return len(p), nil
}

// append adds a line and lets the oldest go. l.mu is held.
func (l *Log) append(line string) {
	l.lines = append(l.lines, line)
	l.size += len(line)
	for len(l.lines) > keptLines || l.size > keptBytes {
		l.size -= len(l.lines[0])
		l.lines[0] = ""
		l.lines = l.lines[1:]
	}
}

// Lines returns the lines to be kept with the task; nil if nothing was logged.
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

// cut returns a line without its newline, no longer than keptLine.
func cut(line []byte) string {
	return backend.Text(string(bytes.TrimSuffix(line, []byte("\n"))), keptLine)
}
