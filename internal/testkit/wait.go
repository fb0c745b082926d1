// Package testkit holds what the tests of several packages share: waiting for what gives no signal ([Eventually],
// [Succeeds]), child processes that a test can kill ([Children], [Child]), networks that it can break ([Proxy], [Link]), files
// ([Write]), and the parts of documents that tests generate ([Section]).
package testkit

import (
	"errors"
	"testing"
	"time"
)

const (
	patience = time.Minute // only a fault uses it up
	pause    = 5 * time.Millisecond
)

// Eventually waits until cond holds, and fails the test after a minute. It is for conditions without a signal to wait for.
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

// Succeeds calls try until it returns no error, and fails the test with its last error after a minute.
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

// Must ends the test with an error, if there is one.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
