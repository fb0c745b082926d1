package ctxvalues_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/internal/ctxvalues"
)

type key string

func TestFrom(t *testing.T) {
	mine, theirs := errors.New("mine"), errors.New("theirs")
	for _, base := range map[string]context.Context{"plain": context.Background(),
		"without_cancel": context.WithoutCancel(t.Context())} {
		from, end := context.WithCancelCause(context.WithValue(context.WithValue(t.Context(), key("a"), 1), key("b"), 1))
		end(theirs)
		parent, cancel := context.WithCancelCause(context.WithValue(base, key("b"), 2))
		ctx, stop := context.WithTimeout(ctxvalues.From(parent, from), time.Hour)
		defer stop()
		if ctx.Value(key("a")) != 1 || ctx.Value(key("b")) != 2 || ctx.Value(key("c")) != nil {
			t.Error(ctx.Value(key("a")), ctx.Value(key("b")), ctx.Value(key("c")))
		}
		if ctx.Err() != nil || context.Cause(ctx) != nil {
			t.Errorf("ended with from: %v", context.Cause(ctx))
		}
		cancel(mine)
		if ctx.Err() == nil || context.Cause(ctx) != mine {
			t.Errorf("ended by %v", context.Cause(ctx))
		}
	}
	if ctx := ctxvalues.From(context.Background(), t.Context()); ctx.Done() != nil || context.Cause(ctx) != nil {
		t.Error("a context without an end has one")
	}
}
