package runtime

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

// A taskLog has the last lines that the handler of a task has logged, this attempt's and those before. It costs nothing
// until the first line, and no write of its own ever: the attempt's settle carries it.
type taskLog struct {
	mu      sync.Mutex
	head    string   // says where this attempt runs
	lines   []string // oldest first
	size    int
	handler slog.Handler
}

// add adds a record.
func (l *taskLog) add(ctx context.Context, h *handling, since []change, r slog.Record) {
	l.mu.Lock()
	if l.handler == nil {
		l.begin(ctx, h)
	}
	handler := l.handler
	l.mu.Unlock()
	_ = replay(handler, since).Handle(ctx, r) // it can't fail
}

// begin continues the lines of the attempts before. l.mu is held.
func (l *taskLog) begin(ctx context.Context, h *handling) {
	for _, line := range h.running.before {
		l.append(backend.Text(line, keptLine))
	}
	options := &slog.HandlerOptions{Level: slog.Level(math.MinInt), ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			a.Value = slog.StringValue(a.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
		}
		return a
	}}
	var head bytes.Buffer
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "attempt", 0)
	r.AddAttrs(slog.Int("attempt", h.running.Attempt), slog.String("instance", h.app.instance.ID), slog.String("ip", h.app.instance.IP))
	_ = slog.NewTextHandler(&head, options).Handle(ctx, r) // it can't fail
	l.head = cut(head.Bytes())
	l.append(l.head)
	l.handler = slog.NewTextHandler((*taskLogWriter)(l), options)
}

// A taskLogWriter is a taskLog as its handler sees it: each Write is a line.
type taskLogWriter taskLog

func (w *taskLogWriter) Write(p []byte) (int, error) {
	l := (*taskLog)(w)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(cut(p))
	return len(p), nil
}

// append adds a line and lets the oldest go. l.mu is held.
func (l *taskLog) append(line string) {
	l.lines = append(l.lines, line)
	l.size += len(line)
	for len(l.lines) > keptLines || l.size > keptBytes {
		l.size -= len(l.lines[0])
		l.lines[0] = ""
		l.lines = l.lines[1:]
	}
}

// kept returns what is to be kept with the task; nil where nothing was logged.
func (l *taskLog) kept() []string {
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

// cut is a line without its newline, no longer than keptLine.
func cut(line []byte) string {
	return backend.Text(string(bytes.TrimSuffix(line, []byte("\n"))), keptLine)
}
