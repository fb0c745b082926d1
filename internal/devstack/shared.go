package devstack

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// A state is the content of a checkout's state file.
type state struct {
	Servers []*Server
	Kept    bool                // started manually: tests leave them running
	Failed  map[string]*failure // recent ones, by variant
}

// A failure is why a server could not be started. It is remembered for a while, so that not every test tries again.
type failure struct {
	At  time.Time
	Why string
}

const remembered = 2 * time.Minute

var (
	mu    sync.Mutex
	known = map[string]*Server{} // those found by this process, by variant
)

// variant distinguishes the shared servers of a checkout.
func (s *Server) variant() string { return string(s.Kind) + s.Topology + s.Root }

// Up returns the checkout's shared server of a kind. It starts the server if it isn't running.
func Up(k Kind) (*Server, error) {
	mu.Lock()
	defer mu.Unlock()
	variant := newServer(k, "").variant()
	if s := known[variant]; s != nil {
		return s, nil
	}
	var up *Server
	err := locked(func(st *state) error {
		for i, s := range st.Servers {
			if s.variant() != variant {
				continue
			}
			if s.running() && s.ready() == nil {
				up = s
				return nil
			}
			st.Servers = slices.Delete(st.Servers, i, i+1)
			if err := s.discard(); err != nil {
				return err
			}
			break
		}
		if f := st.Failed[variant]; f != nil && time.Since(f.At) < remembered {
			return errors.New(f.Why)
		}
		var err error
		if up, err = startShared(k); err != nil {
			st.remember(variant, err)
			return err
		}
		delete(st.Failed, variant)
		st.Servers = append(st.Servers, up)
		return nil
	})
	if err == nil {
		known[variant] = up
	}
	return up, err
}

// remember keeps why a server could not be started. What is not installed is soon found again, and may be installed
// now.
func (st *state) remember(variant string, err error) {
	if errors.Is(err, errNotInstalled) {
		return
	}
	if st.Failed == nil {
		st.Failed = map[string]*failure{}
	}
	st.Failed[variant] = &failure{time.Now(), err.Error()}
}

// startShared starts a server. It retries once, because another process may have taken its port.
func startShared(k Kind) (*Server, error) {
	home, err := home()
	if err != nil {
		return nil, err
	}
	var failed error
	for range 2 {
		dir, err := os.MkdirTemp(home, string(k)+"-")
		if err != nil {
			return nil, err
		}
		s := newServer(k, dir)
		if err = s.prepare(); err == nil {
			err = s.Start()
		}
		if err == nil {
			return s, nil
		}
		failed = errors.Join(err, s.discard())
	}
	return nil, failed
}

// discard kills a server and removes its files.
func (s *Server) discard() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.Dir))
}

// Keep starts all servers and marks them as started manually: Down(true) leaves them running.
func Keep() ([]*Server, error) {
	var all []*Server
	var errs error
	for _, k := range Kinds() {
		s, err := Up(k)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", k, err))
			continue
		}
		all = append(all, s)
	}
	return all, errors.Join(errs, locked(func(st *state) error {
		st.Kept = true
		return nil
	}))
}

// Down stops the checkout's servers and removes their files. With keep it leaves servers that were started manually.
func Down(keep bool) (stopped []Kind, err error) {
	mu.Lock()
	defer mu.Unlock()
	err = locked(func(st *state) error {
		if keep && st.Kept {
			return nil
		}
		var errs error
		for _, s := range st.Servers {
			if s.running() {
				stopped = append(stopped, s.Kind)
			}
			errs = errors.Join(errs, s.discard())
		}
		*st = state{}
		clear(known)
		return errs
	})
	return stopped, err
}

// home returns the directory of this checkout's servers, which must belong to this user.
func home() (string, error) {
	root, err := checkout()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("afgen-stack-%d-%x", os.Getuid(), sum[:5]))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || !ours(info) {
		return "", fmt.Errorf("%s is not a directory of this user", dir)
	}
	return dir, nil
}

// checkout returns the root of the checkout that the working directory is in. Its nested modules share its servers.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for !fileExists(filepath.Join(dir, "internal", "devstack", "devstack.go")) {
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("the working directory is not in a checkout of afgen")
		}
		dir = up
	}
	return filepath.EvalSymlinks(dir)
}

// locked reads the state file, calls f and writes the state, all while holding the lock.
func locked(f func(st *state) error) error {
	dir, err := home()
	if err != nil {
		return err
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer lock.Unlock() // the kernel also releases it when the process exits
	path := filepath.Join(dir, "state.json")
	var st state
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &st); err != nil {
			return fmt.Errorf("%s: %w: remove it, and stop the servers it names", path, err)
		}
	}
	err = f(&st)
	if text, e := json.MarshalIndent(st, "", "\t"); e != nil {
		err = errors.Join(err, e)
	} else if e := os.WriteFile(path, text, 0o600); e != nil {
		err = errors.Join(err, e)
	}
	return err
}
