// Command tiers runs a tier of this repository's tests: those of make test, make test-all and make test-long.
// tiers.go lists the parts of each; docs/developing.md describes the tiers.
//
//	go run ./internal/tiers [-record FILE] test|all|long|rabbitmq4 [flags of go test]
//
// It prints a line with the time as each package ends, and the whole output of failed tests. The last lines are how
// many tests passed and what was not tested. The exit code is 1 if a test failed or, with AF_TEST_REQUIRE=1, if any
// test was skipped, and 2 if the arguments are invalid.
//
// Servers started by the tests are stopped at the end; those of make stack keep running.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("tiers", flag.ContinueOnError)
	record := flags.String("record", "", "write the result into the section of this document that is reserved for it")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	t, ok := tiers()[flags.Arg(0)]
	if !ok {
		fmt.Fprintf(os.Stderr, "tiers: want one of %s, got %q\n",
			strings.Join(slices.Sorted(maps.Keys(tiers())), ", "), flags.Arg(0))
		return 2
	}
	r, err := newRunner(flags.Arg(0), flags.Args()[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "tiers:", err)
		return 1
	}
	r.run(ctx, t)
	if t.servers {
		r.sweep()
	}
	ok = r.finish(os.Getenv("AF_TEST_REQUIRE") == "1")
	if *record != "" {
		if err := r.record(*record); err != nil {
			fmt.Fprintln(os.Stderr, "tiers:", err)
			ok = false
		}
	}
	if !ok {
		return 1
	}
	return 0
}
