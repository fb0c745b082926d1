package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/config"
)

const (
	endWithin = 800 * time.Millisecond // for open pages, after which connections are cut
	askWithin = 500 * time.Millisecond // for who has the port
	product   = "afgen-dashboard"      // in the header Server
)

// Serve serves the dashboard of an App at the address in cfg.Dashboard, until the App shuts down. It does nothing if
// that is nil, or in a child process that runs a task. It returns at once; call it before [af.App.Run] or after
// [af.App.Start]. Until the App has started, pages tell that it has not.
//
// Without [Authorize], everyone who reaches the address may read. So it must be on this machine: Serve returns
// [af.ErrInvalidArgument] for another one. If cfg.Dashboard.Write is set, those who open the address that Serve logs,
// which has a secret token, may also change everything. With Authorize there is no token, and Write limits the rights
// of all users.
//
// If the port is in use, as by another instance on this machine, Serve logs who uses it and returns nil. The dashboard
// is served here within a few seconds after the port is free.
func Serve(app *af.App, cfg config.Config, opts ...Option) error {
	if cfg.Dashboard == nil {
		return nil
	}
	select {
	case <-app.Stopping():
		return nil
	default:
	}
	p := &publisher{until: app.Stopping(), log: app.Logger(), open: func() (served, error) {
		l, err := open(admin.New(app), *cfg.Dashboard, opts)
		if err != nil {
			return nil, err
		}
		l.server.ErrorLog = slog.NewLogLogger(app.Logger().Handler(), slog.LevelWarn)
		return l, nil
	}}
	l, err := p.open()
	switch {
	case isInUse(err):
		p.refused(whoUses(cfg.Dashboard.Listen))
	case err != nil:
		return err
	default:
		p.opened(l)
	}
	go p.run(l) // ends with the App
	return nil
}

// A Listener serves a dashboard at an address of its own: see [Listen].
type Listener struct {
	listener net.Listener
	server   *http.Server
	address  func() string // not the text, which has the token, so that printing a Listener does not reveal it
}

// Listen opens the address in cfg for the dashboard of any API. [Serve] documents who may do what. The caller must call
// [Listener.Serve], which closes the address. If the port is in use, Listen returns [af.ErrAlreadyExists], with a text
// that tells who uses it, as far as that can be known.
func Listen(api admin.API, cfg config.Dashboard, opts ...Option) (*Listener, error) {
	l, err := open(api, cfg, opts)
	if isInUse(err) {
		return nil, whoUses(cfg.Listen)
	}
	return l, err
}

// open is Listen, with an error that isInUse knows if the port is in use.
func open(api admin.API, cfg config.Dashboard, opts []Option) (*Listener, error) {
	o := options{operator: localName()}
	for _, opt := range opts {
		opt(&o)
	}
	open := o.authorize == nil
	if open && !local(cfg.Listen) {
		return nil, notLocal(cfg.Listen)
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, af.Errorf(af.ErrUnavailable, "dashboard: %w", err).With(af.OutcomeNotSent)
	}
	address := listener.Addr().(*net.TCPAddr)
	if open && !address.IP.IsLoopback() { // a name that is not only this machine's
		_ = listener.Close()
		return nil, notLocal(cfg.Listen)
	}
	g := newGate(cfg, &o, address.Port)
	explain := func(o *options) { o.noRights = g.noRights }
	g.pages = HandlerOf(api, append(opts[:len(opts):len(opts)], Authorize(g.user), explain)...)
	host, _, _ := net.SplitHostPort(cfg.Listen) // net.Listen has read it
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	l := &Listener{listener: listener}
	l.address = func() string {
		url := "http://" + net.JoinHostPort(host, fmt.Sprint(address.Port)) + o.prefix + "/"
		if g.token != "" {
			url += "?" + tokenField + "=" + g.token
		}
		return url
	}
	l.server = &http.Server{
		Handler: g, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	return l, nil
}

// URL returns the address of the dashboard. If it may be changed, the address has the secret token.
func (l *Listener) URL() string { return l.address() }

// Serve serves until ctx ends, and then for at most a second, in which open pages are told. It returns nil if ctx has
// ended it. It must be called once.
func (l *Listener) Serve(ctx context.Context) error { return l.serve(ctx.Done()) }

func (l *Listener) serve(until <-chan struct{}) error {
	done := make(chan error, 1)
	go func() { done <- l.server.Serve(l.listener) }()
	select {
	case err := <-done:
		return af.Errorf(af.ErrUnavailable, "dashboard: %w", err)
	case <-until:
	}
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
	<-done
	return nil
}

// local reports whether an address is on this machine, or is a name that only resolving can tell about.
func local(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err != nil || host != "" && (ip == nil || ip.IsLoopback())
}

func notLocal(address string) error {
	return af.Errorf(af.ErrInvalidArgument, "the dashboard would be open to other machines at %s: listen on 127.0.0.1, or "+
		"pass dashboard.Authorize, which tells who may use it", address).With(af.OutcomeNotSent)
}

// isInUse reports whether an address can't be opened because another process has it.
func isInUse(err error) bool {
	const windows = syscall.Errno(10048)
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows)
}

// An inUseError is why an address can't be opened.
type inUseError struct {
	err error
	own bool // a dashboard has it
}

func (e *inUseError) Error() string { return e.err.Error() }
func (e *inUseError) Unwrap() error { return e.err }

// whoUses returns an error that names what serves HTTP at an address. A dashboard names its program and process.
func whoUses(address string) *inUseError {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	e, by := &inUseError{}, "another program"
	if host, port, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		if name := serverAt(ctx, net.JoinHostPort(host, port)); name != "" {
			rest, own := strings.CutPrefix(name, product+" ")
			if by = "a server that calls itself " + clean(name); own {
				by = "the dashboard of " + clean(rest)
			}
			e.own = own
		}
	}
	e.err = af.Errorf(af.ErrAlreadyExists, "%s is in use by %s", address, by).With(af.OutcomeNotSent)
	return e
}

// serverAt returns what an HTTP server calls itself, or "".
func serverAt(ctx context.Context, address string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+address+"/assets/logo.svg", nil)
	if err != nil {
		return ""
	}
	transport := &http.Transport{MaxResponseHeaderBytes: 16 << 10, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return ""
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<10)
	_ = resp.Body.Close()
	name := strings.TrimSpace(resp.Header.Get("Server"))
	return name[:min(len(name), 100)]
}

// self is what this process calls itself to [serverAt].
func self() string {
	name := filepath.Base(os.Args[0])
	return fmt.Sprintf("%s %s, process %d", product, name[:min(len(name), 60)], os.Getpid())
}
