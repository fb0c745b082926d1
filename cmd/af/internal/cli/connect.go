package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// openTimeout limits connecting to the servers.
const openTimeout = 10 * time.Second

// A source is where the system is.
type source struct{ config, file, url, tokenFile string }

// check returns an error if flags contradict each other.
func (s *source) check() error {
	var given []string
	for flag, value := range map[string]string{"-c": s.config, "-file": s.file, "-url": s.url} {
		if value != "" {
			given = append(given, flag)
		}
	}
	if len(given) > 1 {
		return errors.New("use only one of -c, -file and -url")
	}
	if s.tokenFile != "" && (s.config != "" || s.file != "") {
		return errors.New("-token-file has an effect only with -url")
	}
	return nil
}

// A connection is an open system.
type connection struct {
	api  admin.API
	app  *af.App // nil over HTTP
	name string  // of the system, for messages
}

// api returns the system's API, and opens it first.
func (c *invocation) api(ctx context.Context) (admin.API, error) {
	if c.conn == nil {
		conn, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn.api, nil
}

func (c *invocation) connect(ctx context.Context) (*connection, error) {
	if c.system != nil {
		return &connection{api: c.system, name: "the system"}, nil
	}
	s := c.source
	if s.url == "" && s.config == "" && s.file == "" {
		s.url = c.Getenv("AF_URL")
	}
	if s.url != "" {
		return c.connectHTTP(s)
	}
	if s.file != "" {
		if err := exists(s.file); err != nil {
			return nil, err
		}
		return open(ctx, embedded.File(s.file), s.file)
	}
	cfg, err := auto.Load(s.config)
	if err != nil {
		return nil, err
	}
	name := "the servers"
	if kind, err := cfg.Backend(); err == nil && kind == "embedded" {
		name = cfg.Embedded.Path
		if err := exists(name); err != nil {
			return nil, err
		}
	}
	return open(ctx, auto.From(cfg), name)
}

// exists returns an error if an embedded file does not exist: opening it would create it.
func exists(path string) error {
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return af.Errorf(af.ErrInvalidArgument, "%s does not exist: name the system by -c, -file or -url", path)
	case err != nil:
		return af.Errorf(af.ErrUnavailable, "%w", err)
	}
	return nil
}

func open(ctx context.Context, b af.Backend, name string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	app, err := af.Open(ctx, b, af.Observer(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	if err := app.Start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", name, err), app.Shutdown(ctx))
	}
	return &connection{api: admin.New(app), app: app, name: name}, nil
}

func (c *invocation) connectHTTP(s source) (*connection, error) {
	token := c.Getenv("AF_TOKEN")
	if s.tokenFile != "" {
		raw, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return nil, af.Errorf(af.ErrInvalidArgument, "-token-file: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	api, err := adminhttp.NewClient(s.url, adminhttp.ClientOptions{Prepare: func(r *http.Request) error {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return &connection{api: api, name: s.url}, nil
}

// close closes the connection.
func (c *invocation) close(ctx context.Context) error {
	if c.conn == nil || c.conn.app == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	defer cancel()
	return c.conn.app.Shutdown(ctx)
}
