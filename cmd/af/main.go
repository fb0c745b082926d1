// Command af reads and changes a running system: its queues, tasks, jobs, services and machines.
//
//	af top                      what happens now
//	af ls queue:resize status:failed -since 1h
//	af why ID                   why a task does not run
//	af retry -where 'status:failed code:unavailable' -reason 'the disk was full'
//
// It opens the system that config.yaml or -file names, as an observer, or talks to a server of package adminhttp at -url.
// Run af help for all commands. docs/af.md describes them.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/afgen/afgen/cmd/af/internal/cli"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // so that a write to a closed pipe fails, and the command closes the system
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills the process
	os.Exit(cli.Run(ctx, os.Args[1:], cli.System()))
}
