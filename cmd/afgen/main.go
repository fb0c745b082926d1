// Command afgen generates typed clients, dispatch tables and registration for Go structs annotated with //af:rpc and
// //af:worker.
//
// Usage:
//
//	afgen [packages]        generate code
//	afgen check [packages]  report generated files that are out of date
//	afgen breaking -against git:main [packages]
//	afgen init DIR          create a new project
//
// Run afgen help for all commands and afgen help directives for the annotations. docs/generator.md has a guide.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"
)

func main() {
	// Runs are short. Collecting garbage less often makes them a sixth faster.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the command and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &command{stdout: stdout, stderr: stderr, now: clock}
	root := c.root()
	root.SetArgs(longFlags(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		return c.reportFailure(err)
	}
	return c.code
}

// clock returns the time in SOURCE_DATE_EPOCH, or the current time.
func clock() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0)
	}
	return time.Now()
}

// goFlag matches flags with one dash, such as -json and -tags=a.
var goFlag = regexp.MustCompile(`^-[a-z]{2,}(=|$)`)

// longFlags replaces the single dash of long flags, which the go command's users write, by two.
func longFlags(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if goFlag.MatchString(a) {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}
