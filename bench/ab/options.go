package main

import (
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// options are the arguments of the command.
type options struct {
	beforeRev string
	afterRev  string // "" is the working tree
	bench     string
	count     int
	benchtime string
	keep      string // directory for the samples; "" keeps none
	own       bool   // each revision's own benchmarks

	beforeTags, afterTags string // build tags
}

// parseOptions parses and checks the arguments. It returns [flag.ErrHelp] if help was asked for, and has printed it
// then.
func parseOptions(args []string, help io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("ab", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the caller prints the error
	f.StringVar(&o.beforeRev, "before", "HEAD", "the first `revision`")
	f.StringVar(&o.afterRev, "after", "", "the second `revision`; the working tree if not given")
	f.StringVar(&o.bench, "bench", ".", "`regexp` of the benchmarks, as for go test -bench")
	f.IntVar(&o.count, "count", 10, "`number` of rounds")
	f.StringVar(&o.benchtime, "benchtime", "1s", "`time` or iterations of a benchmark, as for go test -benchtime")
	f.StringVar(&o.keep, "keep", "", "`directory` that gets before.txt and after.txt")
	f.StringVar(&o.beforeTags, "before-tags", "", "comma-separated build `tags` of the first side, as for go test -tags")
	f.StringVar(&o.afterTags, "after-tags", "", "build `tags` of the second side")
	f.BoolVar(&o.own, "own", false, "build each revision's own bench/ instead of the current one")
	err := f.Parse(args)
	if err == flag.ErrHelp {
		fmt.Fprintln(help, "usage: go run ./ab [flags]        in bench/")
		f.SetOutput(help)
		f.PrintDefaults()
	}
	if err != nil {
		return options{}, err
	}
	if f.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q: revisions are given by -before and -after", f.Arg(0))
	}
	return o, o.check()
}

var iterations = regexp.MustCompile(`^[1-9][0-9]{0,8}x$`)

// check returns the first invalid option.
func (o options) check() error {
	if o.beforeRev == "" || strings.HasPrefix(o.beforeRev, "-") {
		return fmt.Errorf("-before %q is not a revision", o.beforeRev)
	}
	if strings.HasPrefix(o.afterRev, "-") {
		return fmt.Errorf("-after %q is not a revision", o.afterRev)
	}
	if o.count < 1 {
		return fmt.Errorf("-count %d: at least 1 round is needed, 10 for a useful comparison", o.count)
	}
	if d, err := time.ParseDuration(o.benchtime); (err != nil || d <= 0) && !iterations.MatchString(o.benchtime) {
		return fmt.Errorf("-benchtime %q is neither a time, as 2s, nor a number of iterations, as 100x", o.benchtime)
	}
	for _, alternative := range splitPattern(o.bench) {
		for _, level := range alternative {
			if _, err := regexp.Compile(level); err != nil {
				return fmt.Errorf("-bench %q: %w", o.bench, err)
			}
		}
	}
	return nil
}

// splitPattern splits the argument of -bench like package testing does: into alternatives, each with one regular
// expression per level of sub-benchmarks.
func splitPattern(pattern string) (alternatives [][]string) {
	var levels []string
	brackets, parens, from := 0, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			brackets++
		case c == ']':
			brackets = max(brackets-1, 0)
		case c == '(' && brackets == 0:
			parens++
		case c == ')' && brackets == 0:
			parens--
		case (c == '/' || c == '|') && brackets == 0 && parens == 0:
			levels = append(levels, pattern[from:i])
			from = i + 1
			if c == '|' {
				alternatives, levels = append(alternatives, levels), nil
			}
		}
	}
	return append(alternatives, append(levels, pattern[from:]))
}

// withoutServers are the benchmarks without a sub-benchmark on the servers.
var withoutServers = map[string]bool{"BenchmarkGenerate": true}

// needsServers reports whether a pattern may select a sub-benchmark on the servers, which has servers in the second
// level of its name. names are all benchmarks of the first level. The pattern must be valid.
func needsServers(pattern string, names []string) bool {
	for _, levels := range splitPattern(pattern) {
		if len(levels) > 1 && !regexp.MustCompile(levels[1]).MatchString("servers") {
			continue
		}
		first := regexp.MustCompile(levels[0])
		for _, name := range names {
			if first.MatchString(name) && !withoutServers[name] {
				return true
			}
		}
	}
	return false
}
