package admin

import (
	"context"
	"encoding/json"
	"errors"

	af "github.com/afgen/afgen/runtime"
)

func asError(err error) (*af.Error, bool) { return errors.AsType[*af.Error](err) }

// refused returns the error of a request that was not begun.
func refused(code af.Code, format string, args ...any) error {
	return af.Errorf(code, format, args...).With(af.OutcomeNotSent)
}

// ended returns the error of a request whose context has ended.
func ended(ctx context.Context) error {
	return af.Errorf(af.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
}

// checkJSON returns an error if a value that must be JSON is not.
func checkJSON(what string, value json.RawMessage) error {
	if !json.Valid(value) {
		return refused(af.ErrInvalidArgument, "%s is not valid JSON: %.80q", what, value)
	}
	return nil
}
