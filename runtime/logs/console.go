package logs

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

// A console writes records to the console. If that fails, the records are lost and counted. The file gets one warning,
// and a line with the number of lost records when writing works again. Without a file only that line is logged, to the
// console.
type console struct {
	w        io.Writer
	report   *slog.Logger // of the file, or of the console itself; set before the first Write
	fallback bool         // report is of the file

	total atomic.Int64 // records lost since the log was opened; read without mu, which is held while w blocks

	mu      sync.Mutex
	lost    int64 // records lost since failing was set
	failing bool  // the console could not be written last time
}

// Write writes a record. It returns a nil error: failures are logged to the file.
func (c *console) Write(record []byte) (int, error) {
	c.mu.Lock()
	lost, err := c.put(record)
	first := err != nil && !c.failing
	again := err == nil && c.failing
	if c.failing = err != nil; again {
		c.lost = 0
	}
	c.mu.Unlock()
	switch { // without the lock, because the file may log to the console
	case first && c.fallback:
		c.report.Warn("can't write to the console, logging to the file only", "error", err)
	case again:
		c.report.Info("writing to the console again", "lost", lost)
	}
	return len(record), nil
}

// put writes a record and returns the number of records lost. c.mu is held.
func (c *console) put(record []byte) (lost int64, err error) {
	if _, err = c.w.Write(record); err != nil {
		c.lost++
		c.total.Add(1)
	}
	return c.lost, err
}

// A fileConsole is the console to which the file logs its own failures. It does not log failures of the console, since
// these would go to the file.
type fileConsole struct{ *console }

func (c fileConsole) Write(record []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.put(record) // which counts a failure
	return len(record), nil
}
