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

// A program is a program for the scripts: an App on what config.yaml selects, with workers that behave as their names
// say, and the service calc. It writes a file when it is ready: with its URL if $OVER is http, else empty.
type program struct {
	queues, ready, token, ip, version string
	readOnly, greets                  bool
}

// system runs a program.
func system() {
	var p program
	flag.StringVar(&p.queues, "queues", "mail,poison,flaky,hold,hang", "run the workers of these queues, or of steps")
	flag.StringVar(&p.ready, "ready", "ready", "the file to write")
	flag.StringVar(&p.token, "token", "", "the token that HTTP requests need")
	flag.StringVar(&p.ip, "ip", "192.0.2.1", "the address of the instance")
	flag.StringVar(&p.version, "version", "v1", "the version of the instance")
	flag.BoolVar(&p.readOnly, "read-only", false, "HTTP requests may only read")
	flag.BoolVar(&p.greets, "greets", false, "also serve greeter, and have the job nightly")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := p.serve(ctx); err != nil {
		slog.Error("system", "error", err)
		os.Exit(1)
	}
}

func (p *program) serve(ctx context.Context) error {
	cfg, err := auto.Load("config.yaml")
	if err != nil {
		return err
	}
	app, err := af.Open(ctx, auto.From(cfg), af.IP(p.ip), af.Version(p.version))
	if err != nil {
		return err
	}
	registerCalc(app)
	if p.greets {
		registerGreeter(app)
	}
	for queue := range strings.SplitSeq(p.queues, ",") {
		if run := behaviors[queue]; run != nil {
			w := af.Worker{Name: queue, Type: queue, Max: 2, Weight: 1}
			af.RegisterVoidWorker(app, w, &worker{run})
		}
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	if p.greets {
		if err := putNightly(ctx, app); err != nil {
			return err
		}
	}
	url := ""
	if os.Getenv("OVER") == "http" {
		user := admin.User{Name: "ann", Rights: admin.AllRights()}
		if p.readOnly {
			user.Rights = admin.ReadOnly()
		}
		handler, err := adminhttp.Handler(admin.New(app), adminhttp.Options{
			Authorize: func(r *http.Request) (admin.User, error) {
				if p.token != "" && r.Header.Get("Authorization") != "Bearer "+p.token {
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
	if err := writeFile(p.ready, url); err != nil {
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
	"steps": func(ctx context.Context, _ json.RawMessage) error { // makes a step and waits
		if err := af.TaskFrom(ctx).Progress(ctx, map[string]int{"done": 1, "of": 3}); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	},
	"hang": func(context.Context, json.RawMessage) error { // whatever happens to its context
		select {}
	},
}

// The service calc, as generated code has it.
type (
	calc     struct{}
	operands struct {
		X int `json:"x"`
		Y int `json:"y"`
	}
	quotients struct {
		Quotient  int `json:"quotient"`
		Remainder int `json:"remainder"`
	}
)

func (*calc) Div(_ context.Context, x, y int) (int, int, error) {
	if y == 0 {
		return 0, 0, af.NewError(af.ErrInvalidArgument, "division by zero")
	}
	return x / y, x % y, nil
}

func registerCalc(app *af.App) {
	div := af.Method[operands, quotients]{Service: "calc", Name: "Div", Fingerprint: "c0ffee",
		Signature: "Div(x int, y int) (quotient int, remainder int)"}
	af.RegisterService(app, af.Service{Name: "calc", Type: "Calc", Concurrency: 2}, &calc{},
		af.Bind(&div, func(ctx context.Context, c *calc, in operands) (out quotients, err error) {
			out.Quotient, out.Remainder, err = c.Div(ctx, in.X, in.Y)
			return out, err
		}))
}
