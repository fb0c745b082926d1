// Package revision checks out revisions of this repository, and prepares builds of this module against them.
package revision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// Commit returns the commit of a revision in the repository that contains dir. The error is for the user.
func Commit(ctx context.Context, dir, rev string) (string, error) {
	commit, err := Git(ctx, dir, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("git knows no revision %q", rev)
	}
	return commit, nil
}

// Describe returns the short hash and the subject of a revision.
func Describe(ctx context.Context, dir, rev string) (string, error) {
	return Git(ctx, dir, "show", "--no-patch", "--format=%h (%s)", rev)
}

// AddWorktree checks a commit out into a new directory. The caller calls RemoveWorktree, also after an error.
func AddWorktree(ctx context.Context, repository, dir, commit string) error {
	_, err := Git(ctx, repository, "worktree", "add", "--quiet", "--detach", dir, commit)
	return err
}

// RemoveWorktree removes a worktree, even if git was interrupted while it created it.
func RemoveWorktree(ctx context.Context, repository, dir string) error {
	if _, err := Git(ctx, repository, "worktree", "remove", "--force", dir); err == nil {
		return nil
	}
	err := os.RemoveAll(dir)
	_, pruneErr := Git(ctx, repository, "worktree", "prune")
	if err = errors.Join(err, pruneErr); err != nil {
		return fmt.Errorf("removing the worktree %s: %w", dir, err)
	}
	return nil
}

// killAfter is how long git may take to exit after an interrupt.
const killAfter = 5 * time.Second

// Git runs git in a directory and returns its standard output without surrounding space.
func Git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = killAfter
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// WriteModFile writes base.mod and base.sum, a go.mod and a go.sum for the module in bench that use the root module in
// root. It returns the path of the former, for -modfile.
func WriteModFile(bench, root, base string) (string, error) {
	var files [4][]byte
	for i, path := range []string{"go.mod", "go.sum"} {
		for j, dir := range []string{bench, root} {
			text, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil && !(path == "go.sum" && errors.Is(err, os.ErrNotExist)) {
				return "", err
			}
			files[2*i+j] = text
		}
	}
	mod, err := modFor(files[0], files[1], root)
	if err != nil {
		return "", err
	}
	return base + ".mod", errors.Join(
		os.WriteFile(base+".mod", mod, 0o644),
		os.WriteFile(base+".sum", bytes.Join(files[2:], []byte("\n")), 0o644),
	)
}

// modFor returns the go.mod bench with the root module in dir instead of the current one, and with the versions of
// dependencies that the root module there requires.
func modFor(bench, root []byte, dir string) ([]byte, error) {
	b, err := modfile.Parse("bench/go.mod", bench, nil)
	if err != nil {
		return nil, err
	}
	r, err := modfile.ParseLax(filepath.Join(dir, "go.mod"), root, nil)
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, require := range b.Require {
		has[require.Mod.Path] = true
	}
	for _, require := range r.Require {
		if has[require.Mod.Path] {
			if err := b.AddRequire(require.Mod.Path, require.Mod.Version); err != nil {
				return nil, err
			}
		}
	}
	if err := b.AddReplace(r.Module.Mod.Path, "", dir, ""); err != nil {
		return nil, err
	}
	b.Cleanup()
	return b.Format()
}
