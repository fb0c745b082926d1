package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/bench/internal/revision"
)

// checkOut sets what and root of both sides. A revision gets a worktree.
func (c *comparison) checkOut(ctx context.Context) error {
	root, err := revision.Git(ctx, c.dir, "rev-parse", "--show-toplevel")
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
	head, err := revision.Describe(ctx, root, "HEAD")
	if err != nil {
		return err
	}
	changes, err := revision.Git(ctx, root, "status", "--porcelain")
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
	commit, err := revision.Commit(ctx, root, s.rev)
	if err != nil {
		return fmt.Errorf("-%s: %w", s.name, err)
	}
	if s.what, err = revision.Describe(ctx, root, commit); err != nil {
		return err
	}
	if s.rev != commit {
		s.what = s.rev + ", " + s.what
	}
	s.root = filepath.Join(c.temp, s.name)
	c.cleanup = append(c.cleanup, func(ctx context.Context) error {
		return revision.RemoveWorktree(ctx, root, s.root)
	})
	if err := revision.AddWorktree(ctx, root, s.root, commit); err != nil {
		return fmt.Errorf("checking out %s: %w", s.what, err)
	}
	return nil
}

// build builds the benchmarks against one side, or the side's own ones.
func (c *comparison) build(ctx context.Context, s *side) error {
	fmt.Fprintf(c.log, "building %s: %s\n", s.name, s.what)
	s.binary = filepath.Join(c.temp, s.name+".test")
	dir, args := c.dir, []string{"test", "-c", "-o", s.binary, "-tags=" + s.tags}
	if c.own {
		dir = filepath.Join(s.root, "bench")
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			return fmt.Errorf("-own: %s has no benchmarks of its own in bench/; leave -own out", s.what)
		}
	} else {
		file, err := revision.WriteModFile(c.dir, s.root, filepath.Join(c.temp, s.name))
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
