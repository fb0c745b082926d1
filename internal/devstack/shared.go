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

// A state is what the state file of a checkout says.
type state struct {
	Servers []*Server
	Kept    bool              // brought up by hand: tests leave them
	Failed  map[Kind]*failure // lately
}

// A failure is why a server could not be had. It is remembered for a while, so that not every test tries again.
type failure struct {
	At  time.Time
	Why string
}

const remembered = 2 * time.Minute

var (
	mu    sync.Mutex
	known = map[Kind]*Server{} // in this process
)

// Up returns the checkout's server of a kind, and starts it where it doesn't run.
func Up(k Kind) (*Server, error) {
	mu.Lock()
	defer mu.Unlock()
	if s := known[k]; s != nil {
		return s, nil
	}
	var up *Server
	err := locked(func(st *state) error {
		for i, s := range st.Servers {
			if s.Kind != k {
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
		if f := st.Failed[k]; f != nil && time.Since(f.At) < remembered {
			return errors.New(f.Why)
		}
		var err error
		if up, err = startShared(k); err != nil {
			if st.Failed == nil {
				st.Failed = map[Kind]*failure{}
			}
			st.Failed[k] = &failure{time.Now(), err.Error()}
			return err
		}
		delete(st.Failed, k)
		st.Servers = append(st.Servers, up)
		return nil
	})
	if err == nil {
		known[k] = up
	}
	return up, err
}

// startShared starts a server, once more where another process took its port.
func startShared(k Kind) (s *Server, err error) {
	home, err := home()
	if err != nil {
		return nil, err
	}
	for range 2 {
		s = &Server{Kind: k}
		if s.Dir, err = os.MkdirTemp(home, string(k)+"-"); err != nil {
			return nil, err
		}
		if err = s.prepare(hasDocker()); err == nil {
			err = s.Start()
		}
		if err == nil {
			return s, nil
		}
		err = errors.Join(err, s.discard())
	}
	return nil, err
}

// discard ends a server and removes all it has.
func (s *Server) discard() error {
	err := s.Kill()
	if s.Project != "" {
		_, e := s.compose("down", "--volumes")
		err = errors.Join(err, e)
	}
	return errors.Join(err, os.RemoveAll(s.Dir))
}

// Keep brings up all servers, and marks them as brought up by hand: [Down] leaves them unless it is told to.
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

// Down stops the checkout's servers and removes what they have; with keep not those brought up by hand.
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

// home is the folder of this checkout's servers. Nobody but this user may have made it.
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
		return "", fmt.Errorf("%s is not this user's folder", dir)
	}
	return dir, nil
}

// checkout is the folder that has go.mod, above the working directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for !fileExists(filepath.Join(dir, "go.mod")) {
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
	return filepath.EvalSymlinks(dir)
}

// locked reads the state file, calls f, and writes what it has changed, while no other process does.
func locked(f func(st *state) error) error {
	dir, err := home()
	if err != nil {
		return err
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer lock.Unlock() // it also goes with the process
	path := filepath.Join(dir, "state.json")
	var st state
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &st); err != nil {
			return fmt.Errorf("%s: %w: remove it, and end the servers it names", path, err)
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
