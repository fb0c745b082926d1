// Package oserror knows the codes of the operating system's errors, and what to do about them.
package oserror

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/afgen/afgen/runtime/backend"
)

// Code returns the code of an error of the operating system, or otherwise if nothing is known of it.
func Code(err error, otherwise backend.Code) backend.Code {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return backend.ErrPermissionDenied
	case Remedy(err) != "":
		return backend.ErrResourceExhausted
	}
	return otherwise
}

// Remedy returns what to do about a limit that has been reached: a clause that begins with ": ", or "" for any other error.
func Remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return ": the process may open no more files: raise its limit (ulimit -n, LimitNOFILE=)"
	case errors.Is(err, syscall.ENFILE):
		return ": the machine may open no more files: raise its limit (sysctl fs.file-max)"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": the disk, or its quota, is full: make room"
	case errors.Is(err, syscall.ENOMEM):
		return ": the memory is used up"
	}
	return ""
}
