//go:build unix

package interrupt

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// die ends the process like an unhandled signal, so that its parent sees the signal.
func die(s os.Signal) {
	signal.Reset(s)
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), number)
		time.Sleep(time.Second) // the signal has arrived by then, unless it is ignored
		os.Exit(128 + int(number))
	}
	os.Exit(2)
}
