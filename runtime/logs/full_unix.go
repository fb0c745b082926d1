//go:build unix

package logs

import (
	"errors"
	"syscall"
)

// isFull says whether an error is that of a disk, or a quota, that is used up.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
