package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// checkOut sets what and root of both sides. A revision gets a worktree.
func (c *comparison) checkOut(ctx context.Context) error {
	root, err := c.git(ctx, c.dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return fmt.Errorf("%s is not in a git repository: %w", c.dir, err)
	}
	bench := filepath.Join(root, "bench")
	if !sameFile(filepath.Join(bench, "go.mod"), filepath.Join(c.dir, "go.mod")) {
		return fmt.Errorf("the current directory is %s; run ab in %s", c.dir, bench)
	}
	for _, s := range c.sides() {
		if s.rev == "" {
			err = c.useWorkingTree(ctx, s, root)
		} else {
			err = c.useRevision(ctx, s, root)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sameFile reports whether two paths refer to the same existing file.
func sameFile(a, b string) bool {
	aInfo, aErr := os.Stat(a)
	bInfo, bErr := os.Stat(b)
	return aErr == nil && bErr == nil && os.SameFile(aInfo, bInfo)
}

func (c *comparison) useWorkingTree(ctx context.Context, s *side, root string) error {
	head, err := c.describe(ctx, root, "HEAD")
	if err != nil {
		return err
	}
	changes, err := c.git(ctx, root, "status", "--porcelain")
	if err != nil {
		return err
	}
	s.root, s.what = root, "the working tree, which is "+head
	if changes != "" {
		s.what = "the working tree, with changes since " + head
	}
	return nil
}

func (c *comparison) useRevision(ctx context.Context, s *side, root string) error {
	commit, err := c.git(ctx, root, "rev-parse", "--verify", "--quiet", s.rev+"^{commit}")
	if err != nil {
		return fmt.Errorf("-%s: git knows no revision %q", s.name, s.rev)
	}
	if s.what, err = c.describe(ctx, root, commit); err != nil {
		return err
	}
	if s.rev != commit {
		s.what = s.rev + ", " + s.what
	}
	s.root = filepath.Join(c.temp, s.name)
	c.cleanup = append(c.cleanup, func(ctx context.Context) error { return c.removeWorktree(ctx, root, s.root) })
	if _, err := c.git(ctx, root, "worktree", "add", "--quiet", "--detach", s.root, commit); err != nil {
		return fmt.Errorf("checking out %s: %w", s.what, err)
	}
	return nil
}

// describe returns the short hash and the subject of a commit.
func (c *comparison) describe(ctx context.Context, root, rev string) (string, error) {
	return c.git(ctx, root, "show", "--no-patch", "--format=%h (%s)", rev)
}

// removeWorktree removes a worktree, even if git was interrupted while it created it.
func (c *comparison) removeWorktree(ctx context.Context, root, dir string) error {
	if _, err := c.git(ctx, root, "worktree", "remove", "--force", dir); err == nil {
		return nil
	}
	err := os.RemoveAll(dir)
	_, pruneErr := c.git(ctx, root, "worktree", "prune")
	if err = errors.Join(err, pruneErr); err != nil {
		return fmt.Errorf("removing the worktree %s: %w", dir, err)
	}
	return nil
}

func (c *comparison) git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := c.output(ctx, dir, nil, "git", args...)
	return strings.TrimSpace(out), err
}

// build builds the benchmarks against one side, or the side's own ones.
func (c *comparison) build(ctx context.Context, s *side) error {
	fmt.Fprintf(c.log, "building %s: %s\n", s.name, s.what)
	s.binary = filepath.Join(c.temp, s.name+".test")
	dir, args := c.dir, []string{"test", "-c", "-o", s.binary}
	if c.own {
		dir = filepath.Join(s.root, "bench")
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			return fmt.Errorf("-own: %s has no benchmarks of its own in bench/; leave -own out", s.what)
		}
	} else {
		file, err := c.writeModFile(s)
		if err != nil {
			return err
		}
		args = append(args, "-modfile="+file, "-mod=mod")
		if err := os.MkdirAll(filepath.Join(s.root, "bench"), 0o755); err != nil { // the benchmarks run there
			return err
		}
	}
	_, err := c.output(ctx, dir, []string{"GOWORK=off"}, "go", append(args, ".")...)
	switch {
	case err == nil || ctx.Err() != nil || c.own:
		return err
	default:
		return fmt.Errorf("the current benchmarks don't build against %s: %s:\n%w\n"+
			"If that revision has another API, -own builds each revision's own bench/ instead", s.name, s.what, err)
	}
}

// writeModFile writes a go.mod and a go.sum for the benchmarks that use the root module of one side. It returns the
// path of the former.
func (c *comparison) writeModFile(s *side) (string, error) {
	var files [4][]byte
	for i, path := range []string{"go.mod", "go.sum"} {
		for j, dir := range []string{c.dir, s.root} {
			text, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil && !(path == "go.sum" && errors.Is(err, os.ErrNotExist)) {
				return "", err
			}
			files[2*i+j] = text
		}
	}
	mod, err := modFor(files[0], files[1], s.root)
	if err != nil {
		return "", err
	}
	base := filepath.Join(c.temp, s.name)
	return base + ".mod", errors.Join(
		os.WriteFile(base+".mod", mod, 0o644),
		os.WriteFile(base+".sum", bytes.Join(files[2:], []byte("\n")), 0o644),
	)
}

// modFor returns the go.mod of the benchmarks with the root module in dir instead of the current one, and with the
// versions of dependencies that the root module there requires.
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
