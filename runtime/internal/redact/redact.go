// Package redact hides the texts of errors, as the option RedactErrors of an App does.
package redact

import (
	"context"
	"errors"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// message replaces hidden texts.
const message = "the handler failed"

// Error converts an error for the wire. It keeps only the text of a [backend.Error] with a code,
// which a handler returned on purpose. hidden reports whether it removed any other text.
func Error(err error) (a *backend.Error, hidden bool) {
	a = guard.ToWireError(err)
	e, coded := errors.AsType[*backend.Error](err)
	_, panicked := errors.AsType[*guard.PanicError](err)
	exit, crashed := errors.AsType[*child.ExitError](err)
	switch {
	case coded && crashed && exit.Stderr != "": // the text contains the stderr of the process
		a.Message = strings.ReplaceAll(e.Message, exit.Error(), exit.Brief())
		return guard.Bounded(a), true
	case coded && a.Code != backend.ErrUnknown:
		return a, false
	case panicked:
		a.Message = guard.PanicMessage
		return a, true
	case !coded && (a.Message == "" || a.Message == a.Code.Error() || a.Message == context.Canceled.Error() ||
		a.Message == context.DeadlineExceeded.Error()): // the text is that of a code or of package context
		return a, false
	}
	a.Message, a.Details = message, nil
	return a, true
}
