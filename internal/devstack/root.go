package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// root returns the root directory of the Linux system with RabbitMQ and Redis, or "" for this one.
func root() string { return os.Getenv("AF_TEST_ROOT") }

// lookPath returns the path of a program in the server's root: in the first of dirs that has it, or else in PATH.
func (s *Server) lookPath(name string, dirs ...string) (string, error) {
	for _, dir := range dirs {
		if path := filepath.Join(dir, name); fileExists(filepath.Join(s.Root, path)) {
			return path, nil
		}
	}
	if s.Root == "" {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	where := ""
	if s.Root != "" {
		where = " in " + s.Root
	}
	return "", fmt.Errorf("%s %w%s (Debian: apt-get install rabbitmq-server redis-server)", name, errNotInstalled, where)
}

var errNotInstalled = errors.New("is not installed")

// inRoot runs a program in another root with its own mounts. They are the kernel's file systems, and the parent of
// the server's directory at its outside path, which has other directories of the test, such as its certificates. The
// mounts end with the program. The process keeps its PID.
const inRoot = `
root=$1 dir=$(dirname "$2")
shift 2
for fs in /proc /dev /sys; do mount --rbind $fs "$root$fs"; done
mkdir -p "$root$dir"
mount --bind "$dir" "$root$dir"
exec chroot "$root" "$@"
`

// exec returns the command that runs a program in the server's root. For a root other than this system's it gets
// superuser rights.
func (s *Server) exec(path string, args ...string) *exec.Cmd {
	if s.Root == "" {
		return exec.Command(path, args...)
	}
	cmd := exec.Command("unshare",
		append([]string{"--mount", "--propagation", "private", "sh", "-ec", inRoot, "sh", s.Root, s.Dir, path},
			args...)...)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	return cmd
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
