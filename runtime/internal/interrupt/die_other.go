//go:build !unix

package interrupt

import "os"

// die ends the process. The status is that of a Go program that an interrupt has ended.
func die(os.Signal) { os.Exit(2) }
