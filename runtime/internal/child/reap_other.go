//go:build !linux

package child

import "context"

// Reap does nothing: servers run as process 1 only on Linux.
func Reap(context.Context) {}
