package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// killAfter is how long a child process may take to exit after an interrupt.
const killAfter = 5 * time.Second

// order returns the sides in the order in which a round runs them. Rounds count from 0.
func (c *comparison) order(round int) []*side {
	sides := c.sides()
	if round%2 == 1 {
		slices.Reverse(sides)
	}
	return sides
}

// runRounds runs all rounds and appends the samples of each to the files of both sides.
func (c *comparison) runRounds(ctx context.Context) error {
	for _, s := range c.sides() {
		if err := os.WriteFile(s.file, nil, 0o644); err != nil {
			return err
		}
	}
	begun := time.Now()
	for round := range c.count {
		var b strings.Builder
		for _, s := range c.order(round) {
			begun := time.Now()
			if err := c.runOnce(ctx, s); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, s.name, err)
			}
			fmt.Fprintf(&b, " %s %.1fs,", s.name, time.Since(begun).Seconds())
		}
		left := time.Since(begun) / time.Duration(round+1) * time.Duration(c.count-round-1)
		fmt.Fprintf(c.log, "round %d/%d:%s about %v left\n", round+1, c.count, b.String(), left.Round(time.Second))
	}
	return nil
}

// runOnce runs the benchmarks of one side, in the bench/ of its root module.
func (c *comparison) runOnce(ctx context.Context, s *side) error {
	out, err := c.output(ctx, filepath.Join(s.root, "bench"), c.env, s.binary,
		"-test.run=^$", "-test.bench="+c.bench, "-test.benchtime="+c.benchtime, "-test.benchmem", "-test.count=1")
	if err != nil {
		return err
	}
	if strings.Contains(out, "--- SKIP") {
		return fmt.Errorf("a benchmark was skipped:\n%s", lastLines(out, 40))
	}
	if !strings.Contains(out, "ns/op") {
		return fmt.Errorf("no benchmark matches -bench '%s'", c.bench)
	}
	f, err := os.OpenFile(s.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(out)
	return errors.Join(err, f.Close())
}

// output runs a command in a directory, with additional environment variables, and returns its standard output. When
// ctx ends it interrupts the command. The error contains the end of the command's standard error.
func (c *comparison) output(
	ctx context.Context, dir string, env []string, name string, args ...string,
) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = killAfter
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, lastLines(stdout.String()+stderr.String(), 40))
	}
	return stdout.String(), nil
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
