package runtime

import (
	"context"
)

// checkContext returns an error if the context is nil, for methods in which a panic would leave an App half started or
// half shut down.
func checkContext(ctx context.Context, method string) error {
	if ctx == nil {
		return Errorf(ErrInvalidArgument, "%s: the context is nil; use context.Background()", method)
	}
	return nil
}

// withoutNil returns the middleware that is not nil.
func withoutNil[T any](all []func(T) T) (out []func(T) T) {
	for _, m := range all {
		if m != nil {
			out = append(out, m)
		}
	}
	return out
}
