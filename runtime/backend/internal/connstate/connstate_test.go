package connstate_test

import (
	"context"
	"errors"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
)

var errRefused = backend.NewError(backend.ErrDeadlineExceeded, "Redis at a:1: no answer")

func TestOperationsFailWhileServerIsDown(t *testing.T) {
	s := connstate.New()
	ctx, done, err := s.Guard(t.Context())
	defer done()
	if err != nil || ctx.Err() != nil || connstate.DownCause(ctx) != nil {
		t.Fatalf("before the first probe: %v, %v", err, ctx.Err())
	}
	changed, err := s.Get()
	if err != nil {
		t.Error(err)
	}
	s.SetDown(errRefused)
	<-changed
	<-ctx.Done()
	if e := connstate.DownCause(ctx); e == nil || e.Code != backend.ErrUnavailable {
		t.Errorf("the running operation ended with cause %v", context.Cause(ctx))
	}
	_, done, err = s.Guard(t.Context())
	done()
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrUnavailable ||
		e.Outcome != backend.OutcomeNotSent ||
		!errors.Is(err, backend.ErrServerDown) || e.Message != errRefused.Message {
		t.Errorf("while down: %v", err)
	}
	s.SetUp(s.Epoch())
	ctx, done, err = s.Guard(t.Context())
	if err != nil || ctx.Err() != nil {
		t.Errorf("up again: %v", err)
	}
	done()
	if ctx.Err() == nil || connstate.DownCause(ctx) != nil {
		t.Errorf("after done: %v", context.Cause(ctx))
	}
}

// A probe that started before the server went down doesn't mark it as up.
func TestStaleProbeIsIgnored(t *testing.T) {
	s := connstate.New()
	epoch := s.Epoch()
	s.SetDown(errRefused)
	s.SetUp(epoch)
	if _, err := s.Get(); err == nil {
		t.Error("up after a stale probe")
	}
	s.SetUp(s.Epoch())
	if _, err := s.Get(); err != nil {
		t.Error(err)
	}
}

func TestRejectingServerIsNotDown(t *testing.T) {
	s := connstate.New()
	ctx, done, _ := s.Guard(t.Context())
	defer done()
	s.SetDown(backend.NewError(backend.ErrUnauthenticated, "the password is wrong"))
	<-ctx.Done()
	if e := connstate.DownCause(ctx); e == nil || e.Code != backend.ErrUnauthenticated {
		t.Error(context.Cause(ctx))
	}
	if _, err := s.Get(); !errors.Is(err, backend.ErrUnauthenticated) || errors.Is(err, backend.ErrServerDown) {
		t.Error(err)
	}
}
