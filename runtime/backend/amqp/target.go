package amqp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
)

const (
	defaultConnectTimeout = 10 * time.Second
	defaultHeartbeat      = 10 * time.Second
)

// A target is the address of one broker.
type target struct {
	url     string // includes the password
	uri     amqp091.URI
	addr    string
	vhost   string
	timeout time.Duration
}

// String returns the address without credentials.
func (t target) String() string { return fmt.Sprintf("%s, vhost %q", t.addr, t.vhost) }

// targets returns the brokers of a Config, or an error if the Config is invalid.
func (c *Config) targets() ([]target, error) {
	urls := c.URLs
	if len(urls) == 0 {
		urls = []string{c.fieldsURL()}
	}
	targets := make([]target, 0, len(urls))
	for i, raw := range urls {
		uri, err := amqp091.ParseURI(raw)
		if err != nil {
			// The parser's errors quote the invalid part, which may be a password.
			return nil, backend.Errorf(backend.ErrInvalidArgument, "RabbitMQ URL %d is malformed: it must start with amqp:// "+
				"or amqps://, and reserved characters in user and password must be percent-encoded", i+1)
		}
		t := target{
			url: raw, uri: uri, vhost: uri.Vhost, timeout: c.ConnectTimeout,
			addr: net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)),
		}
		if t.timeout <= 0 {
			t.timeout = time.Duration(uri.ConnectionTimeout) * time.Millisecond
		}
		if t.timeout <= 0 {
			t.timeout = defaultConnectTimeout
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// fieldsURL returns the URL equivalent to the single fields.
func (c *Config) fieldsURL() string {
	host, port, vhost, user, scheme := c.Host, c.Port, c.VHost, url.UserPassword(c.Username, c.Password), "amqp"
	if host == "" {
		host = "127.0.0.1"
	}
	if c.TLS != nil {
		scheme = "amqps"
	}
	if port == 0 {
		port = map[string]int{"amqp": 5672, "amqps": 5671}[scheme]
	}
	if vhost == "" {
		vhost = "/"
	}
	if c.Username == "" {
		user = url.UserPassword("guest", "guest")
	}
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(port)), User: user}
	return u.String() + "/" + url.PathEscape(vhost)
}

// A link is one of the two connections of a generation.
type link struct {
	*amqp091.Connection
	sock    *socket
	cork    *cork
	closes  chan *amqp091.Error
	blocked chan amqp091.Blocking
}

// dial opens one connection to a target. The broker's tools show its name.
func (c *Conn) dial(ctx context.Context, t target, name string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	l := &link{}
	var stop func() bool
	secure, plain, err := c.secure(t)
	if err != nil {
		return nil, err
	}
	config := amqp091.Config{
		Heartbeat:  c.config.Heartbeat,
		Properties: amqp091.NewConnectionProperties(),
		// The library's own dialing takes no context, and its Close waits for blocked writes. So the socket is opened here.
		Dial: func(network, _ string) (net.Conn, error) {
			sock, err := (&net.Dialer{}).DialContext(ctx, network, t.addr)
			if err != nil {
				return nil, err
			}
			l.sock = newSocket(sock)
			stop = context.AfterFunc(ctx, func() { _ = sock.Close() })
			deadline, _ := ctx.Deadline()
			if err := sock.SetDeadline(deadline); err != nil {
				return nil, err
			}
			if secure == nil {
				l.cork = newCork(newSieve(l.sock, c.budget))
				return l.cork, nil
			}
			client := tls.Client(l.sock, secure)
			l.cork = newCork(newSieve(client, c.budget))
			return l.cork, client.Handshake()
		},
	}
	if config.Heartbeat == 0 {
		config.Heartbeat = defaultHeartbeat
	}
	config.Properties["product"] = "afgen"
	config.Properties["connection_name"] = name
	conn, err := amqp091.DialConfig(plain, config)
	if err == nil && !stop() { // ctx ended in between
		_ = conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		if l.sock != nil {
			_ = l.sock.Close()
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, t.explain(err)
	}
	if conn.Config.Heartbeat <= 0 {
		_ = l.sock.Close()
		return nil, backend.Errorf(backend.ErrInvalidArgument, "connecting to RabbitMQ at %s: heartbeats are disabled on "+
			"both sides, so a lost connection would go unnoticed: remove heartbeat=0 from the URL, or set it to 10", t).
			With(backend.OutcomeNotSent)
	}
	l.Connection = conn
	l.closes = conn.NotifyClose(make(chan *amqp091.Error, 1))
	l.blocked = conn.NotifyBlocked(make(chan amqp091.Blocking, 16))
	return l, nil
}

// secure returns the TLS configuration for a target, or nil, and the URL for the library. The URL is never amqps://,
// since the sieve must see decrypted frames.
func (c *Conn) secure(t target) (*tls.Config, string, error) {
	rest, ok := strings.CutPrefix(t.url, "amqps:")
	if !ok {
		return nil, t.url, nil
	}
	config := c.config.TLS.Clone()
	if config == nil {
		var err error
		if config, err = tlsOf(t.uri); err != nil {
			return nil, "", t.explain(err)
		}
	}
	if config.ServerName == "" {
		config.ServerName = t.uri.Host
	}
	return config, "amqp:" + rest, nil
}

// tlsOf returns the TLS configuration given by the parameters of an amqps:// URL.
func tlsOf(uri amqp091.URI) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: uri.ServerName}
	if uri.CACertFile != "" {
		pem, err := os.ReadFile(uri.CACertFile)
		if err != nil {
			return nil, fmt.Errorf("CA certificates: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA certificates: no certificate in %s", uri.CACertFile)
		}
	}
	if uri.CertFile != "" && uri.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(uri.CertFile, uri.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// A socket is a connection that records when it last received data.
type socket struct {
	net.Conn
	opened time.Time
	read   atomic.Int64 // nanoseconds since opened
}

func newSocket(c net.Conn) *socket { return &socket{Conn: c, opened: time.Now()} }

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.read.Store(int64(time.Since(s.opened)))
	}
	return n, err
}

// quiet returns the time since data was last received.
func (s *socket) quiet() time.Duration { return time.Since(s.opened) - time.Duration(s.read.Load()) }

// explain adds the target to err and gives it a code.
func (t target) explain(err error) *backend.Error {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		return e
	}
	code := backend.ErrUnavailable
	if e, ok := errors.AsType[*amqp091.Error](err); ok {
		switch {
		case e == amqp091.ErrCredentials:
			code = backend.ErrUnauthenticated
		case e.Code == amqp091.AccessRefused:
			code = backend.ErrPermissionDenied
		case e.Code == amqp091.NotAllowed:
			code = backend.ErrNotFound // the virtual host doesn't exist, or a connection limit is reached; the reason tells
		}
		return backend.Errorf(code, "connecting to RabbitMQ at %s: %s (%d)", t, e.Reason, e.Code).With(backend.OutcomeNotSent)
	}
	if connstate.CertificateError(err) {
		code = backend.ErrUnauthenticated
	}
	return backend.Errorf(code, "connecting to RabbitMQ at %s: %w", t, err).With(backend.OutcomeNotSent)
}

// refused reports whether a broker was reached and rejected the connection.
func refused(err error) bool {
	return backend.CodeOf(err) != backend.ErrUnavailable
}
