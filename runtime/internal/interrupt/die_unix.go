//go:build unix

package interrupt

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// die ends the process as a signal does that is not handled, and as its parent sees it.
func die(s os.Signal) {
	signal.Reset(s)
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), number)
		time.Sleep(time.Second) // it has come by then, unless it is ignored
		os.Exit(128 + int(number))
	}
	os.Exit(2)
}
