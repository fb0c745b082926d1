package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/config"
)

const (
	openTimeout = 10 * time.Second // limits connecting to the servers, and closing
	// dialTimeout limits opening a connection to a server, so that one that is unreachable leaves time for the others.
	dialTimeout = 3 * time.Second
)

// A source is where the system is.
type source struct{ config, file, url, tokenFile string }

// check returns an error if flags contradict each other.
func (s *source) check() error {
	given := 0
	for _, value := range []string{s.config, s.file, s.url} {
		if value != "" {
			given++
		}
	}
	if given > 1 {
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
	app  *af.App                // nil over HTTP
	name string                 // of the system, for messages; contains no secrets
	hint func(err error) string // returns what helps against an error, or ""; may be nil
	down []af.Condition         // servers that are unavailable, and were warned about
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
	switch {
	case s.url != "":
		return c.connectHTTP(s)
	case s.tokenFile != "":
		return nil, errors.New("-token-file has an effect only with -url or AF_URL")
	case s.file != "":
		if err := exists(s.file, ""); err != nil {
			return nil, err
		}
		return openFile(ctx, embedded.File(s.file), s.file)
	}
	cfg, err := auto.Load(s.config)
	if err != nil {
		return nil, err
	}
	if kind, err := cfg.Backend(); err != nil {
		return nil, err
	} else if kind == config.BackendServers {
		return c.openServers(ctx, cfg)
	}
	if err := exists(cfg.Embedded.Path, configured(cfg)); err != nil {
		return nil, err
	}
	return openFile(ctx, auto.From(cfg), cfg.Embedded.Path)
}

// configured returns why a configuration selects its embedded file, as a clause after the file's name.
func configured(cfg config.Config) string {
	if cfg.File == "" {
		return ", and there is no config.yaml here"
	}
	why := ", which is embedded.path in " + cfg.File
	if dir, err := os.Getwd(); err == nil && dir != cfg.Root && !filepath.IsAbs(cfg.Embedded.Path) {
		why += ", relative to this directory"
	}
	return why
}

// exists returns an error if an embedded file does not exist. why is a clause after the file's name.
func exists(path, why string) error {
	_, err := os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return nil // opening it tells why it can't be read
	}
	message := fmt.Sprintf("no file %s%s: start the system first, or name another one by -c, -file or -url", path, why)
	return &openError{message, af.Errorf(af.ErrNotFound, "%w", err)}
}

// openFile opens an embedded file.
func openFile(ctx context.Context, b af.Backend, path string) (*connection, error) {
	conn, err := open(ctx, b, path)
	if err != nil {
		return nil, &openError{"cannot open " + path + ": " + withoutPlace(err), err}
	}
	return conn, nil
}

// withoutPlace returns the text of an error of opening a file, without the file, which the caller names.
func withoutPlace(err error) string {
	if e, ok := errors.AsType[*af.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// openServers opens the three servers. One that is unreachable costs only what needs it: the command warns and
// continues.
func (c *invocation) openServers(ctx context.Context, cfg config.Config) (*connection, error) {
	name := "the servers of " + cfg.File
	cfg.Servers.StartDegraded = true
	cfg.MongoDB.ConnectTimeout = shorter(cfg.MongoDB.ConnectTimeout, dialTimeout)
	cfg.Redis.DialTimeout = shorter(cfg.Redis.DialTimeout, dialTimeout)
	nodes := len(cfg.RabbitMQ.ConnURIs()) // which are tried in turn
	cfg.RabbitMQ.ConnectTimeout = shorter(cfg.RabbitMQ.ConnectTimeout, 2*dialTimeout/time.Duration(nodes+1))
	begun := time.Now()
	conn, err := open(ctx, auto.From(cfg), name)
	tried := time.Since(begun).Round(100 * time.Millisecond)
	if err != nil {
		message := fmt.Sprintf("cannot open %s, tried for %v:\n%s", name, tried,
			strings.TrimPrefix(err.Error(), "opening the backend: "))
		return nil, &openError{message, err}
	}
	var down []string
	conditions := conn.app.Health().Conditions
	for _, s := range conditions {
		if !s.Up {
			down = append(down, fmt.Sprintf("%s is unavailable: %s", s.Name, s.Cause))
		}
	}
	if len(down) > 0 && len(down) == len(conditions) {
		message := fmt.Sprintf("cannot reach any of %s, tried for %v:\n%s", name, tried, strings.Join(down, "\n"))
		err := error(af.NewError(af.ErrUnavailable, message).With(af.OutcomeNotSent))
		return nil, errors.Join(&openError{message, err}, conn.close(ctx))
	}
	for _, s := range conditions {
		if !s.Up {
			c.warn("%s is unavailable, tried for %v: %s. Lost: %s", s.Name, tried, s.Cause, s.Lost)
			conn.down = append(conn.down, s)
		}
	}
	return conn, nil
}

// shorter returns the shorter of two timeouts; 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// open opens a system as an observer.
func open(ctx context.Context, b af.Backend, name string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	app, err := af.Open(ctx, b, af.Observer(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	conn := &connection{api: admin.New(app), app: app, name: name}
	if err := app.Start(ctx); err != nil {
		return nil, errors.Join(err, conn.close(ctx))
	}
	return conn, nil
}

// warn prints a warning about the system or the way to it.
func (c *invocation) warn(format string, args ...any) {
	line := withoutCodes(fmt.Sprintf(format, args...))
	fmt.Fprintf(&c.Err, "af: warning: %s\n", text.Clean(line[:min(len(line), maxErrorLine)]))
}

// close closes the connection of the invocation.
func (c *invocation) close(ctx context.Context) error {
	if c.conn == nil {
		return nil
	}
	return c.conn.close(ctx)
}

// close closes the connection, even if ctx has ended.
func (c *connection) close(ctx context.Context) error {
	if c.app == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	defer cancel()
	return c.app.Shutdown(ctx)
}
