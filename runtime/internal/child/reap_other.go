//go:build !linux

package child

import "context"

// Reap does nothing: only on Linux does a server run as process 1.
func Reap(context.Context) {}
