// Command worker runs the shop's services, workers and jobs until it receives a signal. Any number of them share the
// work.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/afgen/afgen/examples/orders/shop"
	"github.com/afgen/afgen/examples/orders/store"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func main() {
	file := flag.String("file", ".af/af.db", "`file` with calls and tasks, shared with the API")
	data := flag.String("data", "data", "`directory` of the shop's data")
	tenants := flag.String("tenants", "acme,globex", "comma-separated `names` of those who get statements")
	flag.Parse()
	if err := run(context.Background(), *file, store.Store{Dir: *data}, strings.Split(*tenants, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// run is also the beginning of each child process that makes a thumbnail: it gets as far as Run.
func run(ctx context.Context, file string, db store.Store, tenants []string) error {
	app, err := af.Open(ctx, embedded.File(file), shop.Options()...)
	if err != nil {
		return err
	}
	shop.Register(app, db, tenants)
	return app.Run(ctx)
}
