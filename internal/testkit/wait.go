// Package testkit has helpers for tests of several packages. [Eventually] and [Succeeds] wait for conditions without
// a signal. A test can run and kill programs ([Programs], [Process]) and parts of itself ([Children], [Child]), and
// break networks ([Proxy], [Link]). [Write] writes files, [ReadOnlyDir] is a directory without any, and [Section]
// checks generated parts of documents.
package testkit

import (
	"errors"
	"testing"
	"time"
)

const (
	patience = 2 * time.Minute // long enough that only a failure exceeds it
	pause    = 5 * time.Millisecond
)

// Eventually waits until cond returns true, and fails the test after two minutes. Use it for conditions without a
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

// Succeeds calls try until it returns nil, and fails the test with its last error after two minutes.
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
