// Command api answers the shop's HTTP requests. It calls the services and submits the tasks of command worker, which
// may start later.
//
// SHOP_TOKENS has the bearer tokens and their tenants, such as "s3cret=acme,t0psecret=globex".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/afgen/afgen/examples/orders/shop"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func main() {
	file := flag.String("file", ".af/af.db", "`file` with calls and tasks, shared with the workers")
	listen := flag.String("listen", "127.0.0.1:8080", "`address` for HTTP")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *file, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done. Then it finishes the requests, which may still call, before it closes the App.
func run(ctx context.Context, file, listen string) error {
	tokens := map[string]string{}
	for pair := range strings.SplitSeq(os.Getenv("SHOP_TOKENS"), ",") {
		token, tenant, ok := strings.Cut(pair, "=")
		if !ok || token == "" {
			return errors.New(`SHOP_TOKENS is not of the form "token=tenant,token=tenant"`)
		}
		tokens[token] = tenant
	}
	app, err := af.Open(ctx, embedded.File(file), shop.Options()...)
	if err != nil {
		return err
	}
	if err := app.Start(ctx); err != nil {
		return errors.Join(err, app.Shutdown(context.WithoutCancel(ctx)))
	}
	err = serve(ctx, listen, shop.Routes(app, tokens))
	return errors.Join(err, app.Shutdown(context.WithoutCancel(ctx)))
}

func serve(ctx context.Context, listen string, handler http.Handler) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return server.Shutdown(drain)
}
