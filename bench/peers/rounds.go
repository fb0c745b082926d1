package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A comparison is one run of the command.
type comparison struct {
	arguments
	rows  []row
	stack *stack
	older *build // nil without -before
	log   io.Writer
	begun load // before this command built and started anything

	values map[figure][]float64 // of the rounds
	old    map[figure][]float64 // the same of the revision before
	failed []string             // samples that could not be taken
}

// compare makes a comparison in bench/ and writes the table. It stops the servers that only the other systems need, and
// reports whether it has used those of package devstack, which keep running.
func compare(ctx context.Context, o arguments, out, log io.Writer) (shared bool, err error) {
	c := &comparison{arguments: o, log: log, begun: readLoad(ctx), values: map[figure][]float64{}, old: map[figure][]float64{}}
	for _, r := range rows {
		if o.rows.MatchString(r.name) {
			c.rows = append(c.rows, r)
		}
	}
	if len(c.rows) == 0 {
		return false, fmt.Errorf("-rows: no row matches %q; -list lists them", o.rows)
	}
	samples := plan(c.rows)
	root, err := filepath.Abs("..")
	if err != nil {
		return false, err
	}
	if o.before != "" {
		if c.older, err = buildRevision(ctx, o.before, log); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, c.older.remove(context.WithoutCancel(ctx))) }()
	}
	need := demandOf(samples)
	if c.stack, err = bringUp(ctx, need, log); c.stack != nil {
		defer func() { err = errors.Join(err, c.stack.close()) }()
	}
	if err == nil {
		c.stack.Root = root
		err = c.measure(ctx, samples, out)
	}
	return need.afgen, err
}

// measure takes the samples and writes the table. If it is interrupted, the table has what was measured until then.
func (c *comparison) measure(ctx context.Context, samples [][]task, out io.Writer) error {
	m := describeMachine(ctx, c.stack, c.begun)
	interrupted := c.takeAll(ctx, samples)
	m.end(context.WithoutCancel(ctx))
	text := c.table(m)
	_, err := io.WriteString(out, text)
	if err = errors.Join(interrupted, err); err != nil {
		return err
	}
	if c.record != "" {
		if err := record(c.record, text); err != nil {
			return err
		}
	}
	if len(c.failed) > 0 {
		return fmt.Errorf("%d samples could not be taken", len(c.failed))
	}
	return nil
}

// takeAll takes the samples of all rounds.
func (c *comparison) takeAll(ctx context.Context, samples [][]task) error {
	begun := time.Now()
	for round := range c.rounds {
		for _, group := range samples {
			if round > 0 && slices.Contains(once, group[0].scenario) {
				continue
			}
			shift := round % len(group)
			for _, t := range slices.Concat(group[shift:], group[:shift]) {
				if err := c.takeBoth(ctx, t, round); err != nil {
					return err
				}
			}
		}
		fmt.Fprintf(c.log, "round %d of %d ended after %v\n", round+1, c.rounds, time.Since(begun).Round(time.Second))
	}
	return nil
}

// takeBoth takes a sample, and for afgen also one of the revision before. A sample that fails is noted; an error is
// returned only if the command was interrupted.
func (c *comparison) takeBoth(ctx context.Context, t task, round int) error {
	if !c.stack.has(t.system) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sides := []func() error{func() error { return c.take(ctx, self, c.stack.site, t, c.values, "") }}
	if c.older != nil && isAfgen(t.system) {
		site := c.stack.site
		site.Root = c.older.root
		sides = append(sides, func() error { return c.take(ctx, c.older.binary, site, t, c.old, " before") })
	}
	if round%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if err := side(); ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		} else if err != nil {
			c.failed = append(c.failed, err.Error())
			fmt.Fprintln(c.log, err)
		}
	}
	return nil
}

// Limits of the time of a sample, including preparations.
const (
	sampleTimeout = 3 * time.Minute
	onceTimeout   = 8 * time.Minute
)

// take takes one sample with a binary and adds its values to a map.
func (c *comparison) take(
	ctx context.Context, binary string, s site, t task, values map[figure][]float64, suffix string,
) error {
	limit := sampleTimeout
	if slices.Contains(once, t.scenario) {
		limit = onceTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result after %v", limit))
	defer cancel()
	begun := time.Now()
	r, err := runSample(ctx, binary, s, t, c.quick)
	if err != nil {
		return fmt.Errorf("%s of %s%s: %w", t.scenario, t.system, suffix, err)
	}
	var shown []string
	for metric, v := range r {
		f := figure{t.scenario, t.system, metric}
		values[f] = append(values[f], v)
		shown = append(shown, fmt.Sprintf("%s %.6g", cmp.Or(metric, "value"), v))
	}
	slices.Sort(shown)
	fmt.Fprintf(c.log, "%s of %s%s: %s (%.1f s)\n", t.scenario, t.system, suffix, strings.Join(shown, ", "),
		time.Since(begun).Seconds())
	return nil
}

// runSample runs the process that takes a sample.
func runSample(ctx context.Context, binary string, s site, t task, quick bool) (r result, err error) {
	args := []string{"-sample", t.scenario + " " + t.system}
	if quick {
		args = append(args, "-quick")
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	if cmd.Env, err = s.environment(); err != nil {
		return nil, err
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %s", err, lastLines(stderr.String(), 10))
	}
	err = json.Unmarshal(stdout.Bytes(), &r)
	return r, err
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
