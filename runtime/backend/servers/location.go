package servers

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/afgen/afgen/runtime/config"
)

// location returns the addresses of the servers and what the programs of a system share on them: the databases and the
// virtual host. It contains no secrets. cfg has all three sections.
func location(cfg config.Config) string {
	m, r, q := cfg.MongoDB, cfg.Redis, cfg.RabbitMQ
	db, vhost := strconv.Itoa(r.DB), q.VHost
	if r.URI != "" {
		db = path(r.URI)
	}
	if q.URI != "" {
		vhost = path(q.ConnURIs()[0])
	}
	return "mongodb=" + at(m.Address(), m.DB) + " redis=" + at(r.Address(), db) + " rabbitmq=" + at(q.Address(), vhost)
}

// at appends a name to an address, unless it is the default.
func at(address, name string) string {
	if name == "" || name == "/" {
		return address
	}
	return address + "/" + name
}

// path returns the unescaped path of a valid URI with one host.
func path(uri config.Secret) string {
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}
