// Package testkit has helpers for tests of several packages: waiting for conditions without a signal ([Eventually],
// [Succeeds]), child processes that a test can kill ([Children], [Child]), networks that it can break ([Proxy],
// [Link]), files ([Write]), and generated parts of documents ([Section]).
package testkit

import (
	"errors"
	"testing"
	"time"
)

const (
	patience = time.Minute // long enough that only a failure exceeds it
	pause    = 5 * time.Millisecond
)

// Eventually waits until cond returns true, and fails the test after a minute. Use it for conditions without a
// signal.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	never := errors.New("never came")
	Succeeds(t, what, func() error {
		if cond() {
			return nil
		}
		return never
	})
}

// Succeeds calls try until it returns nil, and fails the test with its last error after a minute.
func Succeeds(t testing.TB, what string, try func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// Must fails the test if err isn't nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
