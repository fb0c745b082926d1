package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"syscall"

	"github.com/afgen/afgen/cmd/af/internal/text"
)

// An output is the standard output. After a write has failed, it interrupts the command: a reader such as head has
// closed the pipe, or the disk of a file is full.
type output struct {
	io.Writer
	interrupt func()

	mu  sync.Mutex
	err error // of the first write that failed
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
			o.interrupt()
		}
	}
	return n, err
}

// failed returns the error of the first write that failed, or nil.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// brokenPipe reports whether the reader of a pipe has closed it.
func brokenPipe(err error) bool {
	const errorBrokenPipe, errorNoData = syscall.Errno(109), syscall.Errno(232) // on Windows
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) ||
		runtime.GOOS == "windows" && (errors.Is(err, errorBrokenPipe) || errors.Is(err, errorNoData))
}

// An outputError is why the output could not be written.
type outputError struct{ err error }

func (e *outputError) Error() string { return "writing the output: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// note tells a person something that is no part of the output.
func (c *invocation) note(format string, args ...any) {
	fmt.Fprintf(&c.Err, "af: %s\n", text.Clean(fmt.Sprintf(format, args...)))
}
