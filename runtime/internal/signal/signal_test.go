package signal_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/internal/signal"
)

func isSet(s signal.Signal) bool {
	select {
	case <-s.C():
		return true
	default:
		return false
	}
}

func TestSignalIsSetOnce(t *testing.T) {
	s := signal.New()
	if isSet(s) {
		t.Error("a new signal is set")
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(s.Set)
	}
	wg.Wait()
	if !isSet(s) || isSet(s) {
		t.Error("three Sets before a receive are not received once")
	}
	if s.Set(); !isSet(s) {
		t.Error("a Set after a receive is lost")
	}
}

func TestSignalWakesAGoroutine(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, woken := signal.New(), false
		go func() {
			<-s.C()
			woken = true
		}()
		if synctest.Wait(); woken {
			t.Error("woken before Set")
		}
		s.Set()
		if synctest.Wait(); !woken {
			t.Error("not woken")
		}
	})
}

func TestSetAllocatesNothing(t *testing.T) {
	s := signal.New()
	if n := testing.AllocsPerRun(100, func() { s.Set(); <-s.C() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
