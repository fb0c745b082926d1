// Package oserror maps errors of the operating system to codes and remedies.
package oserror

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/afgen/afgen/runtime/backend"
)

// Code returns the code of an error of the operating system, or otherwise if it is unknown.
func Code(err error, otherwise backend.Code) backend.Code {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return backend.ErrPermissionDenied
	case Remedy(err) != "":
		return backend.ErrResourceExhausted
	}
	return otherwise
}

// Remedy returns a remedy for an exhausted resource: a clause that begins with ": ", or "" for any other error.
func Remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return ": too many open files in the process: raise its limit (ulimit -n, LimitNOFILE=)"
	case errors.Is(err, syscall.ENFILE):
		return ": too many open files on the machine: raise its limit (sysctl fs.file-max)"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": the disk or its quota is full: free some space"
	case errors.Is(err, syscall.ENOMEM):
		return ": out of memory"
	}
	return ""
}
