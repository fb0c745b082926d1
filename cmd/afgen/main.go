// Command afgen writes typed clients, dispatch tables and registrations for Go structs annotated //af:rpc and
// //af:worker. See afgen help.
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
	// A run is short and makes mostly garbage; collecting it less often is a sixth of the time for some memory.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command; it returns the exit code.
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

// clock is the time, or that of SOURCE_DATE_EPOCH.
func clock() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0)
	}
	return time.Now()
}

// goFlag is a flag as the go command takes it: -json, -tags=a.
var goFlag = regexp.MustCompile(`^-[a-z]{2,}(=|$)`)

// longFlags lets flags be written with one dash too, as users of the go command do.
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
