package oserror_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/oserror"
)

func TestCodesAndRemedies(t *testing.T) {
	for _, c := range []struct {
		err  error
		code backend.Code
		says string
	}{
		{syscall.EMFILE, backend.ErrResourceExhausted, "ulimit -n"},
		{syscall.ENFILE, backend.ErrResourceExhausted, "fs.file-max"},
		{syscall.ENOSPC, backend.ErrResourceExhausted, "free some space"},
		{syscall.EDQUOT, backend.ErrResourceExhausted, "free some space"},
		{syscall.ENOMEM, backend.ErrResourceExhausted, "memory"},
		{syscall.EACCES, backend.ErrPermissionDenied, ""},
		{syscall.EPERM, backend.ErrPermissionDenied, ""},
		{syscall.EROFS, backend.ErrPermissionDenied, ""},
		{syscall.EIO, backend.ErrUnavailable, ""},
		{errors.New("another"), backend.ErrUnavailable, ""},
	} {
		err := &os.PathError{Op: "open", Path: "/x", Err: c.err}
		if got := oserror.Code(err, backend.ErrUnavailable); got != c.code {
			t.Errorf("%v: %s, want %s", c.err, got, c.code)
		}
		if got := oserror.Remedy(err); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}
