// Command examples is a small program with OpenTelemetry: an HTTP front end, and the service, workers, job and raw
// messages of package gallery. Package telemetry switches OpenTelemetry on by the standard environment variables:
//
//	OTEL_TRACES_EXPORTER=console go run .
//	curl -X POST 127.0.0.1:8080/albums/spring
//
// One trace leads from the request to the last photo, to Publish.SubtasksDone and to the message that it sends. The
// albums "lost" and "broken" show what failures look like. Processes that share the file share the work, and the trace:
//
//	go run . -listen=                # only works
//	go run . -work=false             # only answers requests
//
// With -config they share the servers that a config.yaml selects. deploy/compose runs it so, with a collector, Jaeger,
// Prometheus and Grafana.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	afotel "github.com/afgen/afgen/otel"
	"github.com/afgen/afgen/otel/examples/gallery"
	"github.com/afgen/afgen/otel/examples/telemetry"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/httpstatus"
)

func main() {
	file := flag.String("file", ".af/af.db", "`file` with calls and tasks, shared by all processes")
	config := flag.String("config", "", "config.yaml that selects the backend, instead of -file")
	listen := flag.String("listen", "127.0.0.1:8080", "`address` for HTTP; empty for a process that only works")
	work := flag.Bool("work", true, "run the service, the workers and the job")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	open := func(options ...af.AppOption) (*af.App, error) {
		return af.Open(ctx, embedded.File(*file), options...)
	}
	if *config != "" {
		open = func(options ...af.AppOption) (*af.App, error) { return configured(ctx, *config, options) }
	}
	if err := run(ctx, open, *listen, *work); err != nil {
		fmt.Fprintln(os.Stderr, "gallery:", err)
		os.Exit(1)
	}
}

// configured opens an App on the backend that a config.yaml selects.
func configured(ctx context.Context, file string, options []af.AppOption) (*af.App, error) {
	cfg, err := auto.Load(file)
	if err != nil {
		return nil, err
	}
	return af.Open(ctx, auto.From(cfg), append(auto.Options(cfg), options...)...)
}

// run sets up OpenTelemetry first and shuts it down last.
func run(ctx context.Context, open opener, listen string, work bool) error {
	shutdown, err := telemetry.Setup(ctx, "gallery")
	if err != nil {
		return err
	}
	defer shutdown(context.WithoutCancel(ctx))
	return serve(ctx, open, listen, work)
}

// An opener opens the App with options.
type opener func(options ...af.AppOption) (*af.App, error)

// serve runs the App until ctx is done, and then drains it.
func serve(ctx context.Context, open opener, listen string, work bool) error {
	observed, err := afotel.New()
	if err != nil {
		return err
	}
	app, err := open(af.Instrument(observed))
	if err != nil {
		return err
	}
	stop, err := observed.Watch(app) // gauges
	if err != nil {
		return errors.Join(err, app.Shutdown(context.WithoutCancel(ctx)))
	}
	defer stop()
	if work {
		gallery.Register(app)
	}
	if err := app.Start(ctx); err != nil {
		return errors.Join(err, app.Shutdown(context.WithoutCancel(ctx)))
	}
	received := func() error { return nil }
	if work {
		ctx, received = receive(ctx, app)
	}
	if listen == "" {
		<-ctx.Done()
	} else {
		err = answer(ctx, listen, routes(app))
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 25*time.Second)
	defer cancel()
	return errors.Join(err, app.Shutdown(drain), received())
}

// receive receives raw messages until the App is shut down. wait waits for the end and returns why receiving has failed;
// then the returned context ends, too.
func receive(ctx context.Context, app *af.App) (_ context.Context, wait func() error) {
	running, end := context.WithCancel(ctx)
	received := make(chan error, 1)
	go func() {
		defer end()
		received <- gallery.Index(context.WithoutCancel(ctx), app)
	}()
	return running, func() error { return <-received }
}

// routes returns the HTTP front end. Each request has a span, under which its task is submitted.
func routes(app *af.App) http.Handler {
	albums := gallery.NewPublishQueue(app)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /albums/{name}", func(w http.ResponseWriter, r *http.Request) {
		id, err := albums.Submit(r.Context(), r.PathValue("name"))
		if err != nil {
			httpstatus.Write(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(map[string]string{"task": id}) // an error means that the client has gone
	})
	return otelhttp.NewHandler(mux, "")
}

// answer answers requests until ctx is done.
func answer(ctx context.Context, listen string, handler http.Handler) error {
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
