// Command peers compares afgen with other systems, and with the bare drivers of the servers it uses, on one machine.
// docs/benchmarks.md describes what it measures and how to read the result.
//
//	go run ./peers [-rows REGEXP] [-rounds N] [-quick] [-before REV] [-record FILE] [-list]
//
// It prints a table in Markdown with one line for each figure: afgen, what it is compared with, the ratio, and the
// goal.
//
// # Samples
//
// A scenario, such as drain-100, measures one system, such as asynq. Its figures of one run are a sample. Each sample
// is taken by a new process of this program: no goroutine, garbage or connection of one system is left when the next
// one is measured. A round takes one sample of each system, in an order that changes from round to round, so that slow
// phases of the machine hit all systems alike. A figure is the median of the rounds.
//
// # Servers
//
// Package devstack brings up MongoDB, RabbitMQ and Redis. The program itself starts what only the others need: a Redis
// with an append-only file, and PostgreSQL. All listen on free ports of the loopback interface and are stopped at the
// end. Figures whose server is not installed are left out, which is noted below the table.
//
// # Files
//
// rows.go has the rows of the table, rounds.go takes the samples, sample.go is the process that takes one, and table.go
// writes the result. tasks.go and calls.go have the scenarios that several systems can be measured by, and the
// interfaces queue and transport that a system implements: afgen.go, asynq.go, river.go, baremongo.go, bareamqp.go, and
// rpc.go for gRPC and net/rpc. The scenarios of growth.go, kill.go and generate.go are for afgen alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/afgen/afgen/internal/devstack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// arguments are those of the command.
type arguments struct {
	rows   *regexp.Regexp
	rounds int
	quick  bool
	list   bool
	before string // revision
	record string // document

	// For the processes that the command starts.
	sample string // scenario/system
	serve  string // role
}

// parseArguments parses the arguments. It returns [flag.ErrHelp] if help was asked for, and has printed it then.
func parseArguments(args []string, help io.Writer) (arguments, error) {
	var o arguments
	var rows string
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the caller prints the error
	f.StringVar(&rows, "rows", "", "measure only rows whose names match this `regexp`")
	f.IntVar(&o.rounds, "rounds", 3, "`number` of rounds")
	f.BoolVar(&o.quick, "quick", false, "one round with small numbers, to see that everything works")
	f.BoolVar(&o.list, "list", false, "list the rows")
	f.StringVar(&o.before, "before", "", "git `revision` of afgen to measure as well")
	f.StringVar(&o.record, "record", "", "`document` that gets the table in the section reserved for it")
	f.StringVar(&o.sample, "sample", "", "internal: take one sample")
	f.StringVar(&o.serve, "serve", "", "internal: serve the process that takes a sample")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(help, "usage: go run ./peers [flags]        in bench/")
		f.SetOutput(help)
		f.PrintDefaults()
	}
	if err != nil {
		return arguments{}, err
	}
	if f.NArg() > 0 {
		return arguments{}, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.rows, err = regexp.Compile(rows); err != nil {
		return arguments{}, fmt.Errorf("-rows: %w", err)
	}
	if o.rounds < 1 {
		return arguments{}, fmt.Errorf("-rounds %d: at least 1 is needed, 3 for a useful comparison", o.rounds)
	}
	if o.quick {
		o.rounds = 1
	}
	if o.before != "" && o.before[0] == '-' {
		return arguments{}, fmt.Errorf("-before %q is not a revision", o.before)
	}
	return o, nil
}

// run runs the command and returns its exit code: 0 if every sample was taken, 1 if not, 2 if the arguments are wrong.
// A goal that is not met is no error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseArguments(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "peers: %v\nRun it with -h for help.\n", err)
		return 2
	case o.sample != "":
		err = takeSample(ctx, o, stdout)
	case o.serve != "":
		err = serve(ctx, o.serve, os.Stdin, stdout)
	case o.list:
		for _, r := range rows {
			fmt.Fprintln(stdout, r.name)
		}
	default:
		var shared bool
		if shared, err = compare(ctx, o, stdout, stderr); shared {
			_, downErr := devstack.Down(true) // servers of make stack keep running
			err = errors.Join(err, downErr)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "peers: %v\n", err)
		return 1
	}
	return 0
}
