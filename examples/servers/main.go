// Command servers offers the example services and workers until it is told to stop.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/afgen/afgen/examples/servers/subtestserver"
	"github.com/afgen/afgen/examples/servers/testserver"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	app, err := af.Open(ctx, memory.New())
	if err != nil {
		return err
	}
	testserver.RegisterTestServer(app, &testserver.TestServer{})
	testserver.RegisterTestWorker(app, &testserver.TestWorker{})
	subtestserver.RegisterSubTestServer(app, &subtestserver.SubTestServer{})
	subtestserver.RegisterSubTestWorker(app, &subtestserver.SubTestWorker{})
	return app.Run(ctx)
}
