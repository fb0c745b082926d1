package runtime

import (
	"context"
)

// refuseNil refuses a nil context where what would panic on it leaves something half done.
func refuseNil(ctx context.Context, method string) error {
	if ctx == nil {
		return Errorf(ErrInvalidArgument, "%s: the context is nil; use context.Background()", method)
	}
	return nil
}

// given are those middlewares that are not nil.
func given[T any](all []func(T) T) (out []func(T) T) {
	for _, m := range all {
		if m != nil {
			out = append(out, m)
		}
	}
	return out
}
