// Screenshots takes the pictures of the dashboard that README.md and docs/dashboard.md show, light and dark, and writes
// them into docs/screenshots. The system on them is that of package shop, at a fixed time, so that pictures differ only
// if the dashboard does. Fonts are those of the machine: compare pictures of one machine.
//
//	cd internal/browser && go run ./screenshots -out ../../docs/screenshots
//
// With -serve it serves the pages instead, to look at them.
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
	"time"

	"github.com/afgen/afgen/internal/browser/shop"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/dashboard"
)

func main() {
	out := flag.String("out", "docs/screenshots", "the directory of the pictures")
	serve := flag.String("serve", "", "serve the pages at this address instead, such as 127.0.0.1:8091")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := func() error { return take(ctx, *out) }
	if *serve != "" {
		run = func() error { return show(ctx, *serve) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

// handler returns the dashboard of the shop, for a user who may change everything.
func handler() http.Handler {
	return dashboard.HandlerOf(shop.New(), dashboard.Clock(shop.Clock),
		dashboard.TraceLink("https://traces.shop.example/{trace}"),
		dashboard.Authorize(func(*http.Request) (admin.User, error) {
			return admin.User{Name: "ann@shop.example", Rights: admin.AllRights()}, nil
		}))
}

// show serves the pages until ctx ends.
func show(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	return serveAt(ctx, l)
}

// serveAt serves the pages at l until ctx ends.
func serveAt(ctx context.Context, l net.Listener) error {
	s := &http.Server{Handler: handler(), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
