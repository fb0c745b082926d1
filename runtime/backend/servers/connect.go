package servers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"strconv"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/amqp"
	"github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/backend/redis"
	"github.com/afgen/afgen/runtime/config"
)

func (b *Backend) mongoConfig(env backend.Env) (mongo.Config, error) {
	c := b.config.MongoDB
	secure, err := tlsConfig("mongodb", c.TLS)
	if err != nil {
		return mongo.Config{}, err
	}
	uri, address := c.URI.Reveal(), "the uri's hosts"
	if uri == "" {
		address = net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
		u := url.URL{Scheme: "mongodb", Host: address, Path: "/"}
		if c.Username != "" {
			u.User = url.UserPassword(c.Username, c.Password.Reveal())
			u.RawQuery = "authSource=admin"
		}
		uri = u.String()
	} else if u, err := url.Parse(uri); err == nil {
		address = u.Host
	}
	return mongo.Config{
		URI: uri, Address: address, Database: c.DB, AppName: "afgen " + env.Instance.ID, TLS: secure, MaxPool: c.MaxPool,
		ConnectTimeout: c.ConnectTimeout, Logger: env.Logger, Observer: env.Observer,
		Monitor: b.options.commandMonitor(), PoolMonitor: b.options.poolMonitor(),
	}, nil
}

func (b *Backend) openMongo(ctx context.Context, env backend.Env, s *session) error {
	c, err := b.mongoConfig(env)
	if err != nil {
		return err
	}
	if s.mongo, err = mongo.New(c); err != nil {
		return err
	}
	if err := s.mongo.Prepare(ctx); err != nil && !b.tolerable(ctx, err) {
		return err
	}
	return nil
}

func (b *Backend) redisConfig(env backend.Env) (redis.Config, error) {
	c := b.config.Redis
	secure, err := tlsConfig("redis", c.TLS)
	return redis.Config{
		URI: c.URI.Reveal(), Addr: net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), DB: c.DB, Username: c.Username,
		Password: c.Password.Reveal(), TLS: secure, PoolSize: c.PoolSize, DialTimeout: c.DialTimeout, Logger: env.Logger,
		Prefix:     "af:" + b.config.MongoDB.DB + ":", // shared by the programs that share the database
		Instrument: b.options.instrumentRedis,
	}, err
}

func (b *Backend) openRedis(ctx context.Context, env backend.Env, s *session) error {
	c, err := b.redisConfig(env)
	if err != nil {
		return err
	}
	if s.redis, err = redis.Open(c); err != nil {
		return err
	}
	if err := s.redis.Ping(ctx); err != nil && !b.tolerable(ctx, err) {
		return err
	}
	return nil
}

func (b *Backend) rabbitConfig(env backend.Env) (amqp.Config, error) {
	c := b.config.RabbitMQ
	secure, err := tlsConfig("rabbitmq", c.TLS)
	var urls []string
	if c.URI != "" {
		for _, uri := range c.ConnURIs() {
			urls = append(urls, uri.Reveal())
		}
	}
	return amqp.Config{
		URLs: urls, Host: c.Host, Port: c.Port, VHost: c.VHost, Username: c.Username, Password: c.Password.Reveal(),
		TLS:            secure,
		ConnectTimeout: c.ConnectTimeout, Heartbeat: c.Heartbeat, Instance: env.Instance, Logger: env.Logger,
		Database: b.config.MongoDB.DB, // hints name tasks of this database
		Quorum:   b.options.quorum, Degraded: b.options.degraded, Observer: env.Observer,
	}, err
}

func (b *Backend) openRabbit(ctx context.Context, env backend.Env, s *session) error {
	c, err := b.rabbitConfig(env)
	if err != nil {
		return err
	}
	s.rabbit, err = amqp.Dial(ctx, c)
	return err
}

// tlsConfig returns the TLS configuration of a section, or nil if TLS is disabled.
func tlsConfig(section string, t config.TLS) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, backend.Errorf(backend.ErrInvalidArgument, "%s.tls.ca_file: %w", section, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, backend.Errorf(backend.ErrInvalidArgument, "%s.tls.ca_file: no PEM certificate in %s", section, t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, backend.Errorf(backend.ErrInvalidArgument, "%s.tls.cert_file: %w", section, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
