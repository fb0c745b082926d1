// Command ab compares the performance of two revisions of this repository. It builds the benchmarks of the current
// directory, which must be bench/, once against each revision's root module, runs the two test binaries alternately,
// and compares the samples with benchstat.
//
//	go run ./ab [-before REV] [-after REV] [-bench REGEXP] [-count N] [-benchtime T] [-keep DIR] [-own]
//	            [-before-tags TAGS] [-after-tags TAGS]
//
// Revisions are what git understands; without -before it is HEAD, without -after the working tree. A revision is
// checked out into a temporary git worktree, which is removed at the end, also after Ctrl-C. A side may be built with
// build tags: if only these differ, both may be the same revision.
//
// # Rounds
//
// A round runs each binary once, in an order that alternates from round to round: slow phases of the machine hit both
// alike. Ten rounds, the default, are the least from which benchstat draws useful conclusions. The report shows the
// load average as well: on a machine that does other work only large differences mean anything.
//
// # Servers
//
// If the benchmarks need RabbitMQ, MongoDB and Redis, both binaries use the same ones: those of AF_TEST_MONGO,
// AF_TEST_REDIS and AF_TEST_AMQP, or else those that package devstack brings up. The latter keep running, as after
// any test.
//
// # Output
//
// The report goes to standard output, progress to standard error. The samples are before.txt and after.txt in DIR, if
// -keep is given. The exit code is 0 if the comparison was made, 1 if it failed and 2 if the arguments are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the command in the current directory and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "ab: %v\nRun it with -h for help.\n", err)
		return 2
	}
	dir, err := os.Getwd()
	if err == nil {
		err = compare(ctx, &comparison{options: o, dir: dir, tools: dir, out: stdout, log: stderr})
	}
	if err != nil {
		fmt.Fprintf(stderr, "ab: %v\n", err)
		return 1
	}
	return 0
}
