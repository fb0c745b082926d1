package main

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/auto"
)

// system is a program for the scripts: an App on what config.yaml selects, with workers that behave as their names say.
// It writes a file when it is ready: with its URL if $OVER is http, else empty.
func system() {
	queues := flag.String("queues", "mail,poison,flaky,hold,hang", "run the workers of these queues")
	ready := flag.String("ready", "ready", "the file to write")
	token := flag.String("token", "", "the token that HTTP requests need")
	readOnly := flag.Bool("read-only", false, "HTTP requests may only read")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, strings.Split(*queues, ","), *ready, *token, *readOnly); err != nil {
		slog.Error("system", "error", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, queues []string, ready, token string, readOnly bool) error {
	cfg, err := auto.Load("config.yaml")
	if err != nil {
		return err
	}
	app, err := af.Open(ctx, auto.From(cfg))
	if err != nil {
		return err
	}
	for _, queue := range queues {
		if run := behaviors[queue]; run != nil {
			w := af.Worker{Name: queue, Type: queue, Max: 2, Weight: 1}
			af.RegisterVoidWorker(app, w, &worker{run})
		}
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	url := ""
	if os.Getenv("OVER") == "http" {
		user := admin.User{Name: "ann", Rights: admin.AllRights()}
		if readOnly {
			user.Rights = admin.ReadOnly()
		}
		handler, err := adminhttp.Handler(admin.New(app), adminhttp.Options{
			Authorize: func(r *http.Request) (admin.User, error) {
				if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
					return admin.User{}, af.NewError(af.ErrUnauthenticated, "a token is needed")
				}
				return user, nil
			},
		})
		if err != nil {
			return err
		}
		server := httptest.NewServer(handler)
		defer server.Close()
		url = server.URL
	}
	if err := writeFile(ready, url); err != nil {
		return err
	}
	<-ctx.Done()
	return app.Shutdown(context.WithoutCancel(ctx))
}

// writeFile writes a file at once, so that who sees it sees it whole.
func writeFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A behavior is what a worker does with a task.
type behavior func(context.Context, json.RawMessage) error

type worker struct{ run behavior }

func (w *worker) Run(ctx context.Context, payload json.RawMessage) error { return w.run(ctx, payload) }

// behaviors are the workers by their queues.
var behaviors = map[string]behavior{
	"mail": func(ctx context.Context, payload json.RawMessage) error {
		af.LoggerFrom(ctx).Info("sent", "payload", string(payload))
		return nil
	},
	"poison": func(context.Context, json.RawMessage) error {
		return af.Permanent(af.NewError(af.ErrDataLoss, "the payload is broken"))
	},
	"flaky": func(context.Context, json.RawMessage) error {
		return af.NewError(af.ErrUnavailable, "the mail server is down")
	},
	"hold": func(ctx context.Context, _ json.RawMessage) error { // until it is stopped
		<-ctx.Done()
		return context.Cause(ctx)
	},
	"hang": func(context.Context, json.RawMessage) error { // whatever happens to its context
		select {}
	},
}
