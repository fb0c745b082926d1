package embedded

import (
	"time"

	"github.com/gofrs/flock"
)

// A turn makes the writers of several processes take turns. SQLite's write lock goes to whoever asks first once it is
// free, which mostly is who has just released it: of four busy processes one may get nothing. So a writer first takes
// this lock, and gives it back once it has the write lock: while one waits, he who writes now stands behind it.
//
// Only fairness rests on it. A process that was stopped while it held the turn delays the others by no more than
// turnPatience a transaction.
type turn struct{ file *flock.Flock }

const (
	turnPatience = 100 * time.Millisecond
	pauseBetween = 200 * time.Microsecond // between two looks at a lock; the scheduler may make more of it
)

func newTurn(path string) *turn { return &turn{flock.New(path, flock.SetPermissions(0o600))} }

// take waits for the turn. It may return without: where the lock can't be had, writers are unfair and no worse.
func (t *turn) take() {
	for deadline := time.Now().Add(turnPatience); time.Now().Before(deadline); time.Sleep(pauseBetween) {
		if ok, err := t.file.TryLock(); ok || err != nil {
			return
		}
	}
}

// release gives the turn back, where it was had. The lock also goes with the process.
func (t *turn) release() { _ = t.file.Unlock() }
