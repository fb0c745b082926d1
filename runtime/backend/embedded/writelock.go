package embedded

import (
	"time"

	"github.com/gofrs/flock"
)

// A writeLock makes the writers of several processes take turns. SQLite's own write lock goes to the first process that
// asks once it is free, usually the one that has just released it, so busy processes can starve others. A writer
// therefore acquires this lock first and releases it once it holds SQLite's lock: while it waits, the current writer
// queues behind it.
//
// The lock only provides fairness. A process that is stopped while it holds the lock delays others by at most
// writeLockTimeout for each transaction.
type writeLock struct{ lock *flock.Flock }

const (
	writeLockTimeout = 100 * time.Millisecond
	lockRetryPause   = 200 * time.Microsecond // the scheduler may make it longer
)

func newWriteLock(path string) *writeLock {
	return &writeLock{flock.New(path, flock.SetPermissions(0o600))}
}

// acquire waits for the lock. It gives up on a timeout or an error, since writers are still correct without it.
func (l *writeLock) acquire() {
	for deadline := time.Now().Add(writeLockTimeout); time.Now().Before(deadline); time.Sleep(lockRetryPause) {
		if ok, err := l.lock.TryLock(); ok || err != nil {
			return
		}
	}
}

// release releases the lock if it is held. The lock is also released when the process ends.
func (l *writeLock) release() { _ = l.lock.Unlock() }
