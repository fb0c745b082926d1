package logs

import (
	"io"
	"log/slog"
	"sync"
)

// A console writes records to the console. Those that it doesn't take are counted and lost, and the file tells so: once, and once
// more with their number when it takes records again.
type console struct {
	w    io.Writer
	file *slog.Logger

	mu      sync.Mutex
	lost    int64
	failing bool // and the file tells so
}

// Write writes a record. Its error is nil: what goes wrong is reported in the file.
func (c *console) Write(record []byte) (int, error) {
	c.mu.Lock()
	lost, err := c.put(record)
	first := err != nil && !c.failing
	again := err == nil && c.failing
	if c.failing = err != nil; again {
		c.lost = 0
	}
	c.mu.Unlock()
	switch { // not locked: the file may have something to tell the console
	case first:
		c.file.Warn("the console can't be written; the log goes to the file only until it can", "error", err)
	case again:
		c.file.Info("the console is written again", "lost", lost)
	}
	return len(record), nil
}

// put writes a record and returns how many were lost until now. c.mu is held.
func (c *console) put(record []byte) (lost int64, err error) {
	if _, err = c.w.Write(record); err != nil {
		c.lost++
	}
	return c.lost, err
}

// A fileConsole is what the file reports to when it can't be written. It reports nothing itself: that would go to the file.
type fileConsole struct{ *console }

func (c fileConsole) Write(record []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.put(record) // it is counted
	return len(record), nil
}
