package fault

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
)

// Processes that repeat an operation while no time passes end the test, with the last operations.
func TestSpinningProcessesPanic(t *testing.T) {
	l := newLog()
	for i := range 2 * maxAtOnce { // time passes
		l.add(Entry{At: time.Duration(i), Op: "Claim"})
	}
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "operations at once") || !strings.Contains(text, "expires") {
			t.Errorf("panic: %s", text)
		}
	}()
	for range maxAtOnce + 1 {
		l.add(Entry{At: time.Hour, Op: "ExpireOwner", Owner: "owner", Expires: true})
	}
	t.Error("processes may spin")
}

// The same for a process whose calls change nothing.
func TestSpinningCallsPanic(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var s spin
		for range 3 { // time passes
			for range maxAtOnce - 1 {
				s.count("Hint")
			}
			time.Sleep(time.Nanosecond)
		}
		defer func() {
			if text := fmt.Sprint(recover()); !strings.Contains(text, "calls of a process at once") || !strings.Contains(text, "Claim") {
				t.Errorf("panic: %s", text)
			}
		}()
		for range maxAtOnce + 1 {
			s.count("Claim")
		}
		t.Error("a process may spin")
	})
}
