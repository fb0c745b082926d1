// Command client calls the example services. Its last line says how that went, and so does its exit code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/afgen/afgen/examples/servers/subtestserver"
	"github.com/afgen/afgen/examples/servers/testserver"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func main() {
	timeout := flag.Duration("timeout", 30*time.Second, "for all of it")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
}

// run opens an App that calls, and makes the calls.
func run(ctx context.Context, out io.Writer) (err error) {
	quiet := af.Logger(slog.New(slog.DiscardHandler))
	world := memory.New()
	// Memory is one process's, so the services are served here, by an App of their own.
	servers, err := af.Open(ctx, world, quiet)
	if err != nil {
		return err
	}
	testserver.RegisterTestServer(servers, &testserver.TestServer{})
	subtestserver.RegisterSubTestServer(servers, &subtestserver.SubTestServer{})
	defer func() { err = errors.Join(err, servers.Shutdown(ctx)) }()
	if err := servers.Start(ctx); err != nil {
		return err
	}

	app, err := af.Open(ctx, world, quiet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Shutdown(ctx)) }()
	if err := app.Start(ctx); err != nil {
		return err
	}
	calls, err := call(ctx, app, out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "OK calls=%d\n", calls)
	return err
}

// call calls both services, typed and untyped, and one that doesn't exist.
func call(ctx context.Context, app *af.App, out io.Writer) (calls int, err error) {
	test := testserver.NewTestServerClient(app, af.WaitForReady())
	info, err := test.GetServiceName(ctx)
	if err != nil {
		return calls, err
	}
	calls++
	fmt.Fprintf(out, "%s runs at %s\n", info.Name, info.IP)

	sum, err := test.TestFunc(ctx, 1, 2)
	if err != nil {
		return calls, err
	}
	calls++
	fmt.Fprintf(out, "test_server: 1 + 2 = %d\n", sum)

	sum, err = subtestserver.NewSubTestServerClient(app, af.WaitForReady()).TestFunc(ctx, 3, 4)
	if err != nil {
		return calls, err
	}
	calls++
	fmt.Fprintf(out, "sub_test_server: 3 + 4 = %d\n", sum)

	reply, err := app.Call(ctx, "test_server", "TestFunc", map[string]int{"x": 5, "y": 6})
	if err != nil {
		return calls, err
	}
	calls++
	fmt.Fprintf(out, "test_server, untyped: 5 + 6 = %s\n", reply)

	if _, err = app.Call(ctx, "nobody", "TestFunc", nil); !errors.Is(err, af.ErrUnavailable) {
		return calls, fmt.Errorf("calling a service that doesn't exist: %w", err)
	}
	fmt.Fprintf(out, "nobody: %v\n", err)
	return calls, nil
}
