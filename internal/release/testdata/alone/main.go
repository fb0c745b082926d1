// Command alone uses the root module only.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func main() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.Health().State)
	if err := app.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
}
