// Command servers offers the example services and workers until it is told to stop.
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
	"github.com/afgen/afgen/runtime/backend/memory"
)

func main() {
	work := flag.Duration("work", 100*time.Millisecond, "how long a task takes")
	flag.Parse()
	if err := run(context.Background(), *work); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, work time.Duration) error {
	app, err := af.Open(ctx, memory.New())
	if err != nil {
		return err
	}
	testserver.RegisterTestServer(app, &testserver.TestServer{})
	testserver.RegisterTestWorker(app, &testserver.TestWorker{Work: work})
	subtestserver.RegisterSubTestServer(app, &subtestserver.SubTestServer{})
	subtestserver.RegisterSubTestWorker(app, &subtestserver.SubTestWorker{Work: work})
	return app.Run(ctx)
}
