//go:build unix

package safepath

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// maxLinks is the maximum number of links in a path, as on Linux.
const maxLinks = 40

// othersWrite is the permission of every user to write.
const othersWrite fs.FileMode = 0o002

func walk(path string, euid int) (string, []Finding, error) {
	w := walker{euid: euid}
	resolved, err := w.walk(path)
	return resolved, w.findings, err
}

type walker struct {
	euid     int
	findings []Finding
}

func (w *walker) walk(path string) (string, error) {
	const root = "/"
	dir, links := root, 0
	rest := elements(path)
	in, err := os.Lstat(root)
	if err != nil {
		return "", err
	}
	for len(rest) > 0 {
		w.dir(dir, in, len(rest) == 1)
		if rest[0] == ".." {
			dir, rest = filepath.Dir(dir), rest[1:]
			if in, err = os.Lstat(dir); err != nil {
				return "", err
			}
			continue
		}
		next := filepath.Join(dir, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return filepath.Join(append([]string{next}, rest...)...), nil
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink == 0:
			dir, in = next, info
			continue
		}
		w.link(next, info, in)
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "follow", Path: path, Err: syscall.ELOOP}
		}
		rest = append(elements(target), rest...)
		if filepath.IsAbs(target) {
			dir = root
			if in, err = os.Lstat(root); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// elements splits a path.
func elements(path string) (all []string) {
	for e := range strings.SplitSeq(path, "/") {
		if e != "" && e != "." {
			all = append(all, e)
		}
	}
	return all
}

// dir records what is unsafe about a directory of the path. last is set if it contains the file or a link to it.
func (w *walker) dir(path string, info fs.FileInfo, last bool) {
	if !info.IsDir() {
		return // opening the path reports the error
	}
	f := Finding{Kind: Ancestor, Path: path}
	if last {
		f.Kind = Parent
	}
	owner, mine := Owner(info, w.euid)
	shared := info.Mode()&othersWrite != 0
	switch sticky := info.Mode()&fs.ModeSticky != 0; {
	case shared && !sticky:
		f.Why = "it is writable by all users"
	case !mine && owner != "":
		f.Why, f.Root = "it belongs to "+owner, w.euid == 0
	case shared && last:
		f.Kind, f.Why = Shared, "all users can create files in it"
	default:
		return
	}
	for _, known := range w.findings {
		if known == f {
			return
		}
	}
	w.findings = append(w.findings, f)
}

// link records a link of another user in a directory.
func (w *walker) link(path string, info, in fs.FileInfo) {
	owner, mine := Owner(info, w.euid)
	if in.Mode()&othersWrite != 0 && !mine && owner != "" {
		w.findings = append(w.findings, Finding{Kind: Planted, Path: path, Why: "it is a link created by " + owner})
	}
}

// Owner reports whether a file belongs to euid. name is another owner, or "" for a trusted one.
func Owner(info fs.FileInfo, euid int) (name string, mine bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok, int(stat.Uid) == euid:
		return "", true
	case stat.Uid == 0, int64(stat.Uid) == unmapped():
		return "", false
	}
	id := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return "user " + u.Username, false
	}
	return "user " + id, false
}

// unmapped returns the user that owns files whose owner has no id in the process's user namespace, or -1 outside of
// one.
var unmapped = sync.OnceValue(func() int64 {
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || strings.Join(strings.Fields(string(users)), " ") == "0 0 4294967295" {
		return -1
	}
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return -1
	}
	id, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return -1
	}
	return id
})
