package devstack

import "testing"

// Forget makes Up look at the state file again, as another process does.
func Forget() {
	mu.Lock()
	defer mu.Unlock()
	clear(known)
}

// Ready says whether the server does what it is asked.
func (s *Server) Ready() error { return s.ready() }

var WithDatabase = withDatabase

// SetDocker says whether an engine runs here, until the test ends.
func SetDocker(t testing.TB, runs bool) {
	old := hasDocker
	hasDocker = func() bool { return runs }
	t.Cleanup(func() { hasDocker = old })
}
