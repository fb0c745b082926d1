package devstack

// Forget makes Up look at the state file again, as another process does.
func Forget() {
	mu.Lock()
	defer mu.Unlock()
	clear(known)
}

// Ready says whether the server does what it is asked.
func (s *Server) Ready() error { return s.ready() }

var WithDatabase = withDatabase
