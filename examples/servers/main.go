// Command servers runs the example services and workers until it receives a signal.
//
// It uses config.yaml in the working directory, or without one the embedded backend in .af/.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/afgen/afgen/examples/servers/subtestserver"
	"github.com/afgen/afgen/examples/servers/testserver"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/dashboard"
)

func main() {
	config := flag.String("config", "", "configuration file (default config.yaml, if it exists)")
	work := flag.Duration("work", 100*time.Millisecond, "duration of a task")
	flag.Parse()
	if err := run(context.Background(), *config, *work); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config string, work time.Duration) error {
	cfg, err := auto.Load(config)
	if err != nil {
		return err
	}
	app, err := af.Open(ctx, auto.From(cfg), auto.Options(cfg)...)
	if err != nil {
		return err
	}
	testserver.RegisterTestServer(app, &testserver.TestServer{})
	testserver.RegisterTestWorker(app, &testserver.TestWorker{Work: work})
	testserver.RegisterTickWorker(app, &testserver.TickWorker{})
	subtestserver.RegisterSubTestServer(app, &subtestserver.SubTestServer{})
	subtestserver.RegisterSubTestWorker(app, &subtestserver.SubTestWorker{Work: work})
	if err := dashboard.Serve(app, cfg); err != nil { // if config.yaml has the section dashboard
		return err
	}
	return app.Run(ctx)
}
