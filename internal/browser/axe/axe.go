// Package axe finds faults of pages that exclude people: contrast, names of fields, order of headings and more. The
// rules are those of axe-core, a script that npm downloads into the user's cache. No version of it is in this
// repository.
package axe

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/afgen/afgen/internal/browser/chrome"
)

// The version, and what the registry calls its integrity: the SHA-512 of the package.
const (
	version   = "4.14.1"
	integrity = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

// ErrNone means that npm, or its registry, is not available.
var ErrNone = errors.New("no axe-core " + version)

// A Script is the source of axe-core.
type Script string

// Load returns the script. npm downloads it if it is not in the cache yet. If npm can't, the error is [ErrNone]; a
// package with another content than expected is another error.
func Load(ctx context.Context) (Script, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNone, err)
	}
	dir := filepath.Join(cache, "afgen", "axe-core")
	path := filepath.Join(dir, "axe-core-"+version+".tgz")
	if _, err := os.Stat(path); err != nil {
		if err := download(ctx, dir, path); err != nil {
			return "", err
		}
	}
	pack, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if sum := sha512.Sum512(pack); base64.StdEncoding.EncodeToString(sum[:]) != integrity {
		return "", fmt.Errorf("%s is not axe-core %s: delete it", path, version)
	}
	return extract(pack)
}

// download puts the package at a path. Other processes may do the same at the same time.
func download(ctx context.Context, dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	temp, err := os.MkdirTemp(dir, "npm")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	defer os.RemoveAll(temp)
	cmd := exec.CommandContext(ctx, "npm", "pack", "--ignore-scripts", "--silent", "axe-core@"+version)
	cmd.Dir = temp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: npm pack: %w %s", ErrNone, err, bytes.TrimSpace(out))
	}
	return os.Rename(filepath.Join(temp, filepath.Base(path)), path)
}

// extract returns the script in a package.
func extract(pack []byte) (Script, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(pack))
	if err != nil {
		return "", err
	}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if err != nil {
			return "", fmt.Errorf("axe-core %s has no axe.min.js: %w", version, err)
		}
		if h.Name == "package/axe.min.js" {
			text, err := io.ReadAll(files)
			return Script(text), err
		}
	}
}

// Check returns the faults of the page in a tab, one text each. It checks the rules with these names, or without any
// all those of WCAG 2.2 at the levels A and AA, and the best practices.
func (s Script) Check(ctx context.Context, tab *chrome.Tab, rules ...string) ([]string, error) {
	if err := tab.Run(ctx, string(s)); err != nil {
		return nil, err
	}
	only := `{type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}`
	if len(rules) > 0 {
		only = `["` + strings.Join(rules, `", "`) + `"]`
	}
	var faults []string
	err := tab.Eval(ctx, fmt.Sprintf(run, only), &faults)
	return faults, err
}

// run runs axe-core with a choice of rules, and returns a text for each rule that is violated.
const run = `axe.run(document, { runOnly: %s, resultTypes: ["violations"] }).then((r) => r.violations.map((v) =>
	v.id + ": " + v.help + v.nodes.slice(0, 4).map((n) => "\n    " + String(n.target).slice(-160) + ": " +
		[...n.any, ...n.all, ...n.none].slice(0, 1).map((c) => c.message) + "\n      " + n.html.slice(0, 160)).join("") +
	(v.nodes.length > 4 ? "\n    and " + (v.nodes.length - 4) + " others" : "")))`
