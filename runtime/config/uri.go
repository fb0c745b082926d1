package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A dialect is how one kind of server writes its URIs.
type dialect struct {
	schemes []scheme
	// secure is the scheme that means TLS, "" where the scheme doesn't say.
	secure string
	// named is set if what precedes an @ must begin with a user name.
	named bool
	// path checks what follows the host, unescaped and without its slash.
	path func(string) (problem string)
}

// A scheme is one of the words that may stand before ://.
type scheme struct {
	name string
	port int  // where the URI names none; 0 when it may name none
	many bool // several hosts, with commas between
}

var (
	mongoDialect = dialect{schemes: []scheme{{"mongodb", 27017, true}, {"mongodb+srv", 0, false}}, named: true, path: func(p string) string {
		if p == "" {
			return ""
		}
		if _, problem := database.parse(p); problem != "" {
			return "must have the name of a database, or nothing, as its path"
		}
		return ""
	}}

	redisDialect = dialect{schemes: []scheme{{"redis", 6379, false}, {"rediss", 6379, false}}, secure: "rediss", path: func(p string) string {
		if _, err := strconv.ParseUint(p, 10, 31); p != "" && err != nil {
			return "must have the number of a database, or nothing, as its path"
		}
		return ""
	}}

	amqpDialect = dialect{schemes: []scheme{{"amqp", 5672, false}, {"amqps", 5671, false}}, secure: "amqps", path: func(string) string {
		return "" // every text is a virtual host
	}}
)

// A target is what a URI says that is no secret.
type target struct {
	scheme string
	hosts  []string // with ports, where the scheme has any
	path   string   // unescaped
}

// parse takes a URI apart. It doesn't leave that to net/url, for three reasons: MongoDB's may have several hosts, net/url
// takes an unescaped password for the host when it has a slash in it, and its errors quote what they were given. The
// problems returned here quote nothing.
func (d dialect) parse(raw string) (t target, problem string) {
	name, rest, _ := strings.Cut(raw, "://")
	i := slices.IndexFunc(d.schemes, func(s scheme) bool { return s.name == name })
	if i < 0 {
		return target{}, "must begin with " + d.schemes[0].name + ":// or " + d.schemes[1].name + "://"
	}
	if !escaped(rest) {
		return target{}, "has a blank, a control character or a % that is not followed by two hexadecimal digits; write a % as %25"
	}
	authority, tail := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, tail = rest[:end], rest[end:]
	}
	user, hosts, hasUser := cutLast(authority, "@")
	if !hasUser {
		hosts = authority
	}
	// These would be read differently by different drivers, and the wrong way round a password becomes a host.
	if strings.Contains(user, "@") || strings.Count(user, ":") > 1 || strings.ContainsAny(tail, "@#") {
		return target{}, "has one of : / ? # @ where none may be; in a user name or password write them as %3A %2F %3F %23 %40"
	}
	if username, _, _ := strings.Cut(user, ":"); hasUser && d.named && username == "" {
		return target{}, "must have a user name before the @"
	}
	t.scheme = name
	for h := range splitHosts(hosts, d.schemes[i].many) {
		hostport, problem := parseHostPort(h, d.schemes[i].port)
		if problem != "" {
			return target{}, problem
		}
		t.hosts = append(t.hosts, hostport)
	}
	path, _, _ := strings.Cut(tail, "?")
	t.path, _ = url.PathUnescape(strings.TrimPrefix(path, "/")) // it is escaped, which is all that can be wrong
	if problem := d.path(t.path); problem != "" {
		return target{}, problem
	}
	// The drivers of the other two use net/url, which is stricter about some characters.
	if _, err := url.Parse(raw); err != nil && !d.schemes[i].many {
		return target{}, "is not a valid URI; percent-encode every special character of user name and password"
	}
	return t, ""
}

// escaped reports whether s has neither blanks nor control characters and a % only where an escape begins.
func escaped(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
		if s[i] == '%' {
			if len(s) < i+3 {
				return false
			}
			if _, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err != nil {
				return false
			}
		}
	}
	return true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

// splitHosts yields the hosts of an authority, which is one unless many are allowed.
func splitHosts(hosts string, many bool) func(yield func(string) bool) {
	if many {
		return strings.SplitSeq(hosts, ",")
	}
	return slices.Values([]string{hosts})
}

// parseHostPort adds the port to a host of a URI that names none, unless fallback is 0: then it may name none.
func parseHostPort(s string, fallback int) (hostport, problem string) {
	end := strings.LastIndex(s, "]") + 1
	name, digits, hasPort := strings.Cut(s[end:], ":")
	name = s[:end] + name
	if name == "" {
		return "", "must name a host"
	}
	// An IPv6 zone is written %25eth0 within a URI.
	name, problem = parseHost(strings.Replace(name, "%25", "%", 1))
	if problem != "" {
		return "", "must have a valid host, an IPv6 address in brackets"
	}
	switch {
	case !hasPort && fallback == 0:
		return name, ""
	case fallback == 0:
		return "", "must have no port with this scheme"
	case !hasPort:
		return net.JoinHostPort(name, strconv.Itoa(fallback)), ""
	}
	if _, problem := port.parse(digits); problem != "" {
		return "", "must have a port from 1 to 65535, or none"
	}
	return net.JoinHostPort(name, digits), ""
}

// address returns the hosts of a URI, or "" when it isn't one.
func (d dialect) address(raw Secret) string {
	t, _ := d.parse(raw.Reveal())
	return strings.Join(t.hosts, ",")
}

// build writes a URI; tail follows the address and is escaped already.
func (d dialect) build(tls bool, user string, password Secret, address, tail string) Secret {
	name := d.schemes[0].name
	if tls && d.secure != "" {
		name = d.secure
	}
	var userinfo string
	if user != "" || password != "" {
		userinfo = escape(user)
		if password != "" {
			userinfo += ":" + escape(password.Reveal())
		}
		userinfo += "@"
	}
	// Only an IPv6 zone has a % in it.
	return Secret(name + "://" + userinfo + strings.ReplaceAll(address, "%", "%25") + "/" + tail)
}

// escape encodes everything that has a meaning anywhere in a URI, and blanks as %20, since + is a blank to some drivers
// and a plus to others.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// joinHostPort is net.JoinHostPort with the defaults of a section that was not read from a file.
func joinHostPort(host string, port, fallback int) string {
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = fallback
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// Address returns host:port, without secrets, for messages: those of the URI where there is one, with commas between,
// and no port for mongodb+srv. It is "" for a URI that Parse would refuse.
func (m MongoDB) Address() string {
	if m.URI != "" {
		return mongoDialect.address(m.URI)
	}
	return joinHostPort(m.Host, m.Port, 27017)
}

// ConnectionURI returns URI, or one made of the other fields, everything in it escaped. DB is not part of it: the
// driver would look for the user in that database instead of admin. A URI that was given is not changed: whether TLS is
// enabled must be taken from TLS too.
func (m MongoDB) ConnectionURI() Secret {
	if m.URI != "" {
		return m.URI
	}
	var query string
	if m.TLS.Enabled {
		query = "?tls=true"
	}
	return mongoDialect.build(m.TLS.Enabled, m.Username, m.Password, m.Address(), query)
}

// Address returns host:port, without secrets, for messages: that of the URI where there is one. It is "" for a URI that
// Parse would refuse.
func (r Redis) Address() string {
	if r.URI != "" {
		return redisDialect.address(r.URI)
	}
	return joinHostPort(r.Host, r.Port, 6379)
}

// ConnectionURI returns URI, or one made of the other fields, everything in it escaped; its scheme is rediss when TLS
// is enabled.
func (r Redis) ConnectionURI() Secret {
	if r.URI != "" {
		return r.URI
	}
	return redisDialect.build(r.TLS.Enabled, r.Username, r.Password, r.Address(), strconv.Itoa(r.DB))
}

// Address returns host:port, without secrets, for messages: that of the URI where there is one. It is "" for a URI that
// Parse would refuse.
func (r RabbitMQ) Address() string {
	if r.URI != "" {
		return amqpDialect.address(r.URI)
	}
	fallback := 5672
	if r.TLS.Enabled {
		fallback = 5671
	}
	return joinHostPort(r.Host, r.Port, fallback)
}

// ConnectionURI returns URI, or one made of the other fields, everything in it escaped; its scheme is amqps when TLS is
// enabled.
func (r RabbitMQ) ConnectionURI() Secret {
	if r.URI != "" {
		return r.URI
	}
	vhost := r.VHost
	if vhost == "" {
		vhost = "/"
	}
	return amqpDialect.build(r.TLS.Enabled, r.Username, r.Password, r.Address(), escape(vhost))
}
