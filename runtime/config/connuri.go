package config

import (
	"net"
	"net/url"
	"strconv"
)

// ConnURI returns the section as one URI: its uri if that is set, or else one built from host, port, username and
// password, with user and password percent-encoded. It doesn't include the other keys, such as max_pool and the TLS
// files.
func (m *MongoDB) ConnURI() Secret {
	if m.URI != "" {
		return m.URI
	}
	u := connURL("mongodb", m.Host, m.Port, m.Username, m.Password)
	u.Path = "/" + m.DB
	q := url.Values{}
	if m.Username != "" {
		q.Set("authSource", "admin")
	}
	if m.TLS.Enabled {
		q.Set("tls", "true")
	}
	u.RawQuery = q.Encode()
	return Secret(u.String())
}

// ConnURI is like [MongoDB.ConnURI].
func (r *Redis) ConnURI() Secret {
	if r.URI != "" {
		return r.URI
	}
	u := connURL(secured("redis", "rediss", r.TLS), r.Host, r.Port, r.Username, r.Password)
	u.Path = "/" + strconv.Itoa(r.DB)
	return Secret(u.String())
}

// ConnURI is like [MongoDB.ConnURI].
func (r *RabbitMQ) ConnURI() Secret {
	if r.URI != "" {
		return r.URI
	}
	u := connURL(secured("amqp", "amqps", r.TLS), r.Host, r.Port, r.Username, r.Password)
	u.Path, u.RawPath = "/"+r.VHost, "/"+url.PathEscape(r.VHost)
	return Secret(u.String())
}

// ConnURIs returns ConnURI once for each of its hosts, which are the nodes of a cluster.
func (r *RabbitMQ) ConnURIs() []Secret {
	var uris []Secret
	for _, uri := range perHost(r.ConnURI().Reveal()) {
		uris = append(uris, Secret(uri))
	}
	return uris
}

func secured(plain, secure string, t TLS) string {
	if t.Enabled {
		return secure
	}
	return plain
}

func connURL(scheme, host string, port int, username string, password Secret) url.URL {
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(port))}
	if username != "" || password != "" {
		u.User = url.UserPassword(username, password.Reveal())
	}
	return u
}
