package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/afgen/afgen/bench/internal/revision"
)

// A build is this command with the afgen of another revision.
type build struct {
	what   string // the revision, for the table
	root   string // of its worktree
	binary string
	remove stop
}

// buildRevision checks a revision out and builds this command with its afgen.
func buildRevision(ctx context.Context, rev string, log io.Writer) (b *build, err error) {
	bench, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	commit, err := revision.Commit(ctx, bench, rev)
	if err != nil {
		return nil, fmt.Errorf("-before: %w", err)
	}
	b = &build{}
	if b.what, err = revision.Describe(ctx, bench, commit); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "afgen-before-")
	if err != nil {
		return nil, err
	}
	b.root, b.binary = filepath.Join(temp, "root"), filepath.Join(temp, "peers")
	b.remove = func(ctx context.Context) error {
		return errors.Join(revision.RemoveWorktree(ctx, bench, b.root), os.RemoveAll(temp))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := revision.AddWorktree(ctx, bench, b.root, commit); err != nil {
		return nil, err
	}
	mod, err := revision.WriteModFile(bench, b.root, filepath.Join(temp, "bench"))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "building %s\n", b.what)
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-modfile="+mod, "-o", b.binary, "./peers")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("this command does not build with the afgen of %s: %w\n%s", b.what, err,
			lastLines(string(out), 20))
	}
	return b, nil
}
