package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/load"
)

// A comparison is one run of the command.
type comparison struct {
	options
	dir      string // bench/ of the working tree
	tools    string // directory of the module that has benchstat as a tool
	out, log io.Writer

	temp    string
	env     []string // more environment variables of the benchmarks
	before  *side
	after   *side
	cleanup []func(context.Context) error // run in reverse order
}

// A side is one of the two revisions.
type side struct {
	name   string // before or after
	rev    string // "" is the working tree
	tags   string // build tags
	what   string // the revision, for messages
	root   string // directory of the root module
	binary string
	file   string // of the samples
}

func (c *comparison) sides() []*side { return []*side{c.before, c.after} }

// cleanupTimeout bounds the cleanup after the command's context has ended.
const cleanupTimeout = 30 * time.Second

// compare makes a comparison and writes the report. It always removes its worktrees and ends its processes.
func compare(ctx context.Context, c *comparison) (err error) {
	if c.temp, err = os.MkdirTemp("", "afgen-ab-"); err != nil {
		return err
	}
	c.cleanup = append(c.cleanup, func(context.Context) error { return os.RemoveAll(c.temp) })
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		for _, f := range slices.Backward(c.cleanup) {
			err = errors.Join(err, f(ctx))
		}
	}()
	if err := c.steps(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		return err
	}
	return nil
}

// steps runs all steps of a comparison except the cleanup.
func (c *comparison) steps(ctx context.Context) error {
	results, err := filepath.Abs(cmp.Or(c.keep, c.temp))
	if err == nil {
		err = os.MkdirAll(results, 0o755)
	}
	if err != nil {
		return err
	}
	c.before = &side{name: "before", rev: c.beforeRev, tags: c.beforeTags, file: filepath.Join(results, "before.txt")}
	c.after = &side{name: "after", rev: c.afterRev, tags: c.afterTags, file: filepath.Join(results, "after.txt")}
	if err := c.checkOut(ctx); err != nil {
		return err
	}
	for _, s := range c.sides() {
		if s.tags != "" {
			s.what += ", with -tags " + s.tags
		}
		if err := c.build(ctx, s); err != nil {
			return err
		}
	}
	if _, err := c.output(ctx, c.tools, nil, "go", "tool", "-n", "benchstat"); err != nil {
		return fmt.Errorf("benchstat is needed, and go can't build it: %w", err)
	}
	names, err := c.output(ctx, c.dir, nil, c.after.binary, "-test.list", "^Benchmark")
	if err != nil {
		return fmt.Errorf("listing the benchmarks: %w", err)
	}
	if needsServers(c.bench, strings.Fields(names)) {
		if err := c.bringUpServers(ctx); err != nil {
			return err
		}
	}
	loadBefore := loadAverage(ctx)
	if err := c.runRounds(ctx); err != nil {
		return err
	}
	return c.report(ctx, loadBefore, loadAverage(ctx))
}

// report writes the result to standard output.
func (c *comparison) report(ctx context.Context, loadBefore, loadAfter string) error {
	table, err := c.output(ctx, c.tools, nil, "go", "tool", "benchstat", "before="+c.before.file, "after="+c.after.file)
	if err != nil {
		return fmt.Errorf("benchstat: %w", err)
	}
	_, err = fmt.Fprintf(c.out, "before: %s\nafter:  %s\n%d rounds of -bench '%s' -benchtime %s, %s %s/%s, %d cores; "+
		"load average %s before, %s after\n\n%s", c.before.what, c.after.what, c.count, c.bench, c.benchtime,
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), loadBefore, loadAfter, table)
	return err
}

// loadAverage returns the load average of the last minute, if the system has one.
func loadAverage(ctx context.Context) string {
	avg, err := load.AvgWithContext(ctx)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.2f", avg.Load1)
}
