//go:build !unix

package runtime

import "os"

// dieOf ends the process. The status is that of a Go program that an interrupt has ended.
func dieOf(os.Signal) { os.Exit(2) }
