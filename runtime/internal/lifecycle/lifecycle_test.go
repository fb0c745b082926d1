package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/lifecycle"
)

func fine() error { return nil }

func TestStatesInOrder(t *testing.T) {
	l := lifecycle.New()
	expect := func(state lifecycle.State, registers, admits, draining bool) {
		t.Helper()
		if l.State() != state || l.Register(func() {}) != registers || (l.Admit() == nil) != admits ||
			l.IsDraining() != draining {
			t.Errorf("%v, want %v: registers %v, admits %v, draining %v", l.State(), state, l.Register(func() {}),
				l.Admit(), l.IsDraining())
		}
	}
	expect(lifecycle.Open, true, false, false)
	s, err := l.Begin(t.Context(), fine)
	if err != nil {
		t.Fatal(err)
	}
	expect(lifecycle.Starting, false, false, false)
	if _, err := l.Begin(t.Context(), fine); backend.CodeOf(err) != backend.ErrFailedPrecondition {
		t.Errorf("second Begin: %v", err)
	}
	if err := s.Done(nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	expect(lifecycle.Running, false, true, false)
	if !l.AwaitStart(t.Context()) {
		t.Error("not started")
	}
	want := errors.New("cut")
	for range 2 {
		err := l.Shutdown(t.Context(), func(s *lifecycle.Start) error {
			expect(lifecycle.Stopping, false, true, true)
			if err := s.Cancel(t.Context()); err != nil {
				t.Error(err)
			}
			l.Close()
			return want
		})
		if err != want {
			t.Errorf("Shutdown: %v", err)
		}
	}
	expect(lifecycle.Closed, false, false, true)
}

// A Shutdown cancels a Start, which then fails, and requests that wait for it are refused.
func TestShutdownCancelsStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := lifecycle.New()
		s, err := l.Begin(t.Context(), fine)
		if err != nil {
			t.Fatal(err)
		}
		var started error
		go func() {
			defer s.Close()
			<-s.Context.Done()
			started = s.Done(context.Cause(s.Context))
		}()
		admitted := true
		go func() { admitted = l.AwaitStart(t.Context()) }()
		synctest.Wait()
		err = l.Shutdown(t.Context(), func(s *lifecycle.Start) error { return s.Cancel(t.Context()) })
		synctest.Wait()
		if err != nil || backend.CodeOf(started) != backend.ErrFailedPrecondition || admitted {
			t.Errorf("Shutdown: %v, Start: %v, admitted: %v", err, started, admitted)
		}
	})
}

// A Start and a stop that hang are abandoned.
func TestShutdownReturnsInTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := lifecycle.New()
		if _, err := l.Begin(t.Context(), fine); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun, release := time.Now(), make(chan struct{})
		var abandoned error
		err := l.Shutdown(ctx, func(s *lifecycle.Start) error {
			abandoned = s.Cancel(ctx)
			<-release
			return nil
		})
		if backend.CodeOf(err) != backend.ErrDeadlineExceeded || time.Since(begun) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		close(release)
		synctest.Wait()
		if backend.CodeOf(abandoned) != backend.ErrDeadlineExceeded {
			t.Errorf("Start: %v", abandoned)
		}
	})
}
