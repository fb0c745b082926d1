package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A dialect describes the URIs of one kind of server.
type dialect struct {
	schemes []scheme
	// secure is the scheme that enables TLS, or "" if the scheme doesn't tell.
	secure string
	// named is set if a user name is required before an @.
	named bool
	// path checks the unescaped path without its slash.
	path func(string) (problem string)
}

// A scheme is a URI scheme.
type scheme struct {
	name string
	port int  // default port; 0 if a port is not allowed
	many bool // several comma-separated hosts allowed
}

var (
	mongoDialect = dialect{schemes: []scheme{{"mongodb", 27017, true}, {"mongodb+srv", 0, false}}, named: true,
		path: func(p string) string {
			if p == "" {
				return ""
			}
			if _, problem := database.parse(p); problem != "" {
				return "must have the name of a database, or nothing, as its path"
			}
			return ""
		}}

	redisDialect = dialect{schemes: []scheme{{"redis", 6379, false}, {"rediss", 6379, false}}, secure: "rediss",
		path: func(p string) string {
			if _, err := strconv.ParseUint(p, 10, 31); p != "" && err != nil {
				return "must have the number of a database, or nothing, as its path"
			}
			return ""
		}}

	amqpDialect = dialect{schemes: []scheme{{"amqp", 5672, true}, {"amqps", 5671, true}}, secure: "amqps",
		path: func(string) string {
			return "" // any text is a virtual host
		}}
)

// A target has the parts of a URI that aren't secret.
type target struct {
	scheme string
	hosts  []string // with ports, if the scheme has any
	path   string   // unescaped
}

// parse parses a URI. It doesn't use net/url alone: some URIs may have several hosts, and net/url reads an unescaped
// password with a slash as the host, and its errors quote the URI. The problems returned here quote nothing.
func (d dialect) parse(raw string) (t target, problem string) {
	name, rest, _ := strings.Cut(raw, "://")
	i := slices.IndexFunc(d.schemes, func(s scheme) bool { return s.name == name })
	if i < 0 {
		return target{}, "must begin with " + d.schemes[0].name + ":// or " + d.schemes[1].name + "://"
	}
	if !escaped(rest) {
		return target{}, "has a blank, a control character or a % that is not followed by two hexadecimal digits; " +
			"write a % as %25"
	}
	authority, tail := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, tail = rest[:end], rest[end:]
	}
	user, hosts, hasUser := cutLast(authority, "@")
	if !hasUser {
		hosts = authority
	}
	// Drivers disagree on these, and some would read part of a password as the host.
	if strings.Contains(user, "@") || strings.Count(user, ":") > 1 || strings.ContainsAny(tail, "@#") {
		return target{}, "has a misplaced : / ? # or @; in a user name or password write %3A %2F %3F %23 %40"
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
	t.path, _ = url.PathUnescape(strings.TrimPrefix(path, "/")) // only the escapes could be invalid, and they were checked
	if problem := d.path(t.path); problem != "" {
		return target{}, problem
	}
	if d.secure == "" && d.schemes[i].many {
		return t, ""
	}
	// The other two drivers use net/url, which refuses more characters.
	for _, one := range perHost(raw) {
		if _, err := url.Parse(one); err != nil {
			return target{}, "is not a valid URI; percent-encode every special character of user name and password"
		}
	}
	return t, ""
}

// perHost returns a valid URI once for each of its hosts.
func perHost(raw string) (uris []string) {
	name, rest, _ := strings.Cut(raw, "://")
	tail := ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest, tail = rest[:end], rest[end:]
	}
	user, hosts, hasUser := cutLast(rest, "@")
	if hasUser {
		user += "@"
	} else {
		hosts = rest
	}
	for host := range strings.SplitSeq(hosts, ",") {
		uris = append(uris, name+"://"+user+host+tail)
	}
	return uris
}

// escaped reports whether s has no blanks, no control characters, and a % only at the start of an escape.
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

// splitHosts yields the hosts of an authority: one unless many is set.
func splitHosts(hosts string, many bool) func(yield func(string) bool) {
	if many {
		return strings.SplitSeq(hosts, ",")
	}
	return slices.Values([]string{hosts})
}

// parseHostPort appends fallback if s has no port. If fallback is 0, s must have no port.
func parseHostPort(s string, fallback int) (hostport, problem string) {
	end := strings.LastIndex(s, "]") + 1
	name, digits, hasPort := strings.Cut(s[end:], ":")
	name = s[:end] + name
	if name == "" {
		return "", "must name a host"
	}
	// A URI escapes the % of an IPv6 zone: %25eth0.
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

// address returns the hosts of a URI, or "" if it is invalid.
func (d dialect) address(raw Secret) string {
	t, _ := d.parse(raw.Reveal())
	return strings.Join(t.hosts, ",")
}

// build returns a URI. tail follows the address and is already escaped.
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
	// Only an IPv6 zone contains a %.
	return Secret(name + "://" + userinfo + strings.ReplaceAll(address, "%", "%25") + "/" + tail)
}

// escape encodes every character with a meaning in a URI. Blanks become %20, because drivers disagree on +.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// joinHostPort is net.JoinHostPort with the defaults of a section that wasn't read from a file.
func joinHostPort(host string, port, fallback int) string {
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = fallback
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// Address returns host:port for messages, without secrets. For a URI it returns the URI's hosts, separated by commas,
// without a port for mongodb+srv. It returns "" for an invalid URI.
func (m MongoDB) Address() string {
	if m.URI != "" {
		return mongoDialect.address(m.URI)
	}
	return joinHostPort(m.Host, m.Port, 27017)
}

// ConnectionURI returns URI, or one built and escaped from the other fields. It omits DB, because the driver would
// look up the user in that database instead of admin. It returns a given URI unchanged; check TLS separately.
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

// Address returns host:port for messages, without secrets. For an invalid URI it returns "".
func (r Redis) Address() string {
	if r.URI != "" {
		return redisDialect.address(r.URI)
	}
	return joinHostPort(r.Host, r.Port, 6379)
}

// ConnectionURI returns URI, or one built and escaped from the other fields. The scheme is rediss if TLS is enabled.
func (r Redis) ConnectionURI() Secret {
	if r.URI != "" {
		return r.URI
	}
	return redisDialect.build(r.TLS.Enabled, r.Username, r.Password, r.Address(), strconv.Itoa(r.DB))
}

// Address returns host:port for messages, without secrets. For an invalid URI it returns "".
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

// ConnectionURI returns URI, or one built and escaped from the other fields. The scheme is amqps if TLS is enabled.
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
