package reach_test

import (
	"context"
	"errors"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/reach"
)

var errRefused = backend.NewError(backend.ErrDeadlineExceeded, "Redis at a:1: no answer")

func TestOperationsEndWhenTheServerGoesAndFailWhileItIsAway(t *testing.T) {
	s := reach.New()
	ctx, done, err := s.Guard(t.Context())
	defer done()
	if err != nil || ctx.Err() != nil || reach.Away(ctx) != nil {
		t.Fatalf("of a server of which nothing is known: %v, %v", err, ctx.Err())
	}
	changed, err := s.Get()
	if err != nil {
		t.Error(err)
	}
	s.Lost(errRefused)
	<-changed
	<-ctx.Done()
	if e := reach.Away(ctx); e == nil || e.Code != backend.ErrUnavailable {
		t.Errorf("the operation ended because of %v", context.Cause(ctx))
	}
	_, done, err = s.Guard(t.Context())
	done()
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrUnavailable || e.Outcome != backend.OutcomeNotSent ||
		!errors.Is(err, backend.ErrServerDown) || e.Message != errRefused.Message {
		t.Errorf("while it is away: %v", err)
	}
	s.Found(s.Losses())
	ctx, done, err = s.Guard(t.Context())
	if err != nil || ctx.Err() != nil {
		t.Errorf("it is back: %v", err)
	}
	done()
	if ctx.Err() == nil || reach.Away(ctx) != nil {
		t.Errorf("a context that is done with: %v", context.Cause(ctx))
	}
}

// A look that began before the server was lost says nothing of it.
func TestStaleLookFindsNothing(t *testing.T) {
	s := reach.New()
	losses := s.Losses()
	s.Lost(errRefused)
	s.Found(losses)
	if _, err := s.Get(); err == nil {
		t.Error("found")
	}
	s.Found(s.Losses())
	if _, err := s.Get(); err != nil {
		t.Error(err)
	}
}

func TestServerThatRefusesIsNotAway(t *testing.T) {
	s := reach.New()
	ctx, done, _ := s.Guard(t.Context())
	defer done()
	s.Lost(backend.NewError(backend.ErrUnauthenticated, "the password is wrong"))
	<-ctx.Done()
	if e := reach.Away(ctx); e == nil || e.Code != backend.ErrUnauthenticated {
		t.Error(context.Cause(ctx))
	}
	if _, err := s.Get(); !errors.Is(err, backend.ErrUnauthenticated) || errors.Is(err, backend.ErrServerDown) {
		t.Error(err)
	}
}
