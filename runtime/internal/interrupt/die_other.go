//go:build !unix

package interrupt

import "os"

// die exits the process with the status of a Go program killed by an interrupt.
func die(os.Signal) { os.Exit(2) }
