package config

import (
	"slices"
	"strconv"
)

// check validates combinations of keys after all have been read, and adjusts defaults that depend on them.
func (d *decoder) check() {
	c := &d.config
	if m := c.MongoDB; m != nil {
		d.checkURI("mongodb")
		d.checkUser("mongodb")
		d.checkTLS("mongodb", mongoDialect, m.URI, &m.TLS)
		_, written := d.given["mongodb.db"]
		if t, _ := mongoDialect.parse(m.URI.Reveal()); t.path != "" && !written {
			m.DB = t.path
		}
	}
	if r := c.Redis; r != nil {
		d.checkURI("redis")
		d.checkTLS("redis", redisDialect, r.URI, &r.TLS)
	}
	if r := c.RabbitMQ; r != nil {
		d.checkURI("rabbitmq")
		d.checkUser("rabbitmq")
		d.checkTLS("rabbitmq", amqpDialect, r.URI, &r.TLS)
		if _, written := d.given["rabbitmq.port"]; r.TLS.Enabled && r.URI == "" && !written {
			r.Port = amqpDialect.schemes[1].port
		}
	}
	d.checkLogger()
	d.checkBackend()
}

// checkLogger reports a log that goes nowhere, and a format of a console that isn't used.
func (d *decoder) checkLogger() {
	console, ok := d.given["logger.console"]
	if !ok || !console.valid || d.config.Logger.Console {
		return
	}
	if d.config.Logger.Path == "" {
		d.report(console.at, "logger.console", `logger.console must be true, since logger.path is ""`)
	}
	if format, ok := d.given["logger.format"]; ok {
		d.report(format.at, "logger.format", "logger.format needs logger.console to be true")
	}
}

// checkURI reports keys that contradict the URI, and clears the defaults of keys that the URI replaces.
func (d *decoder) checkURI(section string) {
	uri, ok := d.given[section+".uri"]
	if !ok {
		return
	}
	for _, r := range children(section) {
		written, ok := d.given[r.Name]
		switch {
		case r.uri == independent:
		case !ok:
			r.clear(&d.config)
		case r.uri == excluded:
			d.report(written.at, r.Name,
				r.Name+" conflicts with "+section+".uri (line "+strconv.Itoa(uri.at.line)+"): remove one")
		}
	}
}

// checkUser reports a password without a user, which would be ignored.
func (d *decoder) checkUser(section string) {
	_, user := d.given[section+".username"]
	_, uri := d.given[section+".uri"]
	password, ok := d.given[section+".password"]
	if ok && !user && !uri {
		d.report(password.at, section+".password", section+".password needs "+section+".username")
	}
}

// checkTLS reports ambiguous TLS settings.
func (d *decoder) checkTLS(section string, dialect dialect, uri Secret, tls *TLS) {
	name := func(key string) string { return section + ".tls." + key }
	for _, pair := range [][2]string{{"cert_file", "key_file"}, {"key_file", "cert_file"}} {
		one, ok := d.given[name(pair[0])]
		if _, other := d.given[name(pair[1])]; ok && !other {
			d.report(one.at, name(pair[0]), name(pair[0])+" needs "+name(pair[1]))
		}
	}
	if u, ok := d.given[section+".uri"]; ok && !u.valid {
		return // its scheme may enable TLS
	}
	enabled, written := d.given[name("enabled")]
	t, _ := dialect.parse(uri.Reveal())
	switch {
	case dialect.secure != "" && t.scheme == dialect.secure && !written:
		tls.Enabled = true
	case dialect.secure != "" && t.scheme != "" && enabled.valid && tls.Enabled != (t.scheme == dialect.secure):
		d.report(enabled.at, name("enabled"), name("enabled")+" contradicts the scheme of "+section+".uri")
	case !written:
		for _, key := range []string{"ca_file", "cert_file", "key_file", "server_name"} {
			if file, ok := d.given[name(key)]; ok {
				d.report(file.at, name(key), name(key)+" needs "+name("enabled")+" to be set to true or false")
				return
			}
		}
	}
}

// checkBackend reports a file with some but not all of the three servers, at the first one present.
func (d *decoder) checkBackend() {
	var present []position
	_, message := d.config.backend(func(section string) string {
		at := d.given[section].at
		present = append(present, at)
		if d.file == "" {
			return " (line " + strconv.Itoa(at.line) + ")"
		}
		return " (" + d.file + ":" + strconv.Itoa(at.line) + ")"
	})
	if message != "" {
		first := slices.MinFunc(present, func(a, b position) int { return a.line - b.line })
		d.report(first, "", message)
	}
}
