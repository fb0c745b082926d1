package config

import (
	"log/slog"
	"slices"
	"strings"
	"time"
)

// A Key describes a key of the file, or a mapping of keys.
type Key struct {
	Name    string // dotted, such as "redis.tls.ca_file"
	Type    string // "mapping" for a key that holds other keys
	Default string // as written in a file; "" if there is none
	Doc     string // one line without a final period
}

// Keys returns all keys in the recommended order of a file, each mapping before its keys.
func Keys() []Key {
	keys := make([]Key, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	return keys
}

// A row is a Key with its parser.
type row struct {
	Key
	secret bool
	mute   bool
	// set stores a value or returns what is wrong with it; clear stores the zero value. Both are nil for a mapping.
	set   func(c *Config, text string) (problem string)
	clear func(c *Config)
	// open creates the section of a server; otherwise it is nil.
	open func(c *Config)
	uri  withURI
}

// withURI is the effect of a section's uri on one of its keys.
type withURI int

const (
	independent withURI = iota // no effect
	excluded                   // the key must not be set
	yielding                   // the URI's option replaces the default
)

// key returns the row of a value of type T.
func key[T any](name string, k kind[T], def, doc string, at func(*Config) *T) row {
	return row{
		Key:    Key{Name: name, Type: k.name, Default: def, Doc: doc},
		secret: k.secret,
		mute:   k.mute,
		set: func(c *Config, text string) string {
			v, problem := k.parse(text)
			if problem == "" {
				*at(c) = v
			}
			return problem
		},
		clear: func(c *Config) {
			var zero T
			*at(c) = zero
		},
	}
}

// mapping returns the row of a mapping. open is nil unless it is the section of a server.
func mapping(name, doc string, open func(*Config)) row {
	return row{Key: Key{Name: name, Type: "mapping", Doc: doc}, open: open}
}

// with sets the effect of a uri on r.
func (r row) with(rule withURI) row {
	r.uri = rule
	return r
}

// rows describes all keys, for reading, suggestions and documentation.
var rows = slices.Concat(mongoRows, redisRows, rabbitRows, otherRows, workerRows(anyQueue))

var mongoRows = append([]row{
	mapping("mongodb", "stores tasks, jobs and the registry; requires redis and rabbitmq", func(c *Config) {
		c.MongoDB = new(MongoDB)
	}),
	key("mongodb.uri", uri(mongoDialect), "",
		"a mongodb:// or mongodb+srv:// URI, replaces host, port, username and password",
		func(c *Config) *Secret { return &c.MongoDB.URI }),
	key("mongodb.host", host, "127.0.0.1", "name or address of the server",
		func(c *Config) *string { return &c.MongoDB.Host }).with(excluded),
	key("mongodb.port", port, "27017", "its port",
		func(c *Config) *int { return &c.MongoDB.Port }).with(excluded),
	key("mongodb.db", database, "afgen", "name of the database; with a uri, defaults to its path",
		func(c *Config) *string { return &c.MongoDB.DB }),
	key("mongodb.username", text, "", "user, looked up in the database admin",
		func(c *Config) *string { return &c.MongoDB.Username }).with(excluded),
	key("mongodb.password", secret, "", "the user's password, not escaped",
		func(c *Config) *Secret { return &c.MongoDB.Password }).with(excluded),
	key("mongodb.max_pool", integer(1, 10000), "100",
		"maximum number of connections to one server; with a uri, defaults to its option",
		func(c *Config) *int { return &c.MongoDB.MaxPool }).with(yielding),
	key("mongodb.connect_timeout", duration(time.Millisecond), "5s",
		"timeout for connecting; with a uri, defaults to its option",
		func(c *Config) *time.Duration { return &c.MongoDB.ConnectTimeout }).with(yielding),
}, tlsRows("mongodb", "", func(c *Config) *TLS { return &c.MongoDB.TLS })...)

var redisRows = append([]row{
	mapping("redis", "carries wake-ups and presence; requires mongodb and rabbitmq", func(c *Config) {
		c.Redis = new(Redis)
	}),
	key("redis.uri", uri(redisDialect), "", "a redis:// or rediss:// URI, replaces host, port, db, username and password",
		func(c *Config) *Secret { return &c.Redis.URI }),
	key("redis.host", host, "127.0.0.1", "name or address of the server",
		func(c *Config) *string { return &c.Redis.Host }).with(excluded),
	key("redis.port", port, "6379", "its port",
		func(c *Config) *int { return &c.Redis.Port }).with(excluded),
	key("redis.db", integer(0, 65535), "0", "number of the database",
		func(c *Config) *int { return &c.Redis.DB }).with(excluded),
	key("redis.username", text, "", "user; unset for a server with only a password",
		func(c *Config) *string { return &c.Redis.Username }).with(excluded),
	key("redis.password", secret, "", "password, not escaped",
		func(c *Config) *Secret { return &c.Redis.Password }).with(excluded),
	key("redis.pool_size", integer(1, 10000), "20", "maximum number of connections; with a uri, defaults to its option",
		func(c *Config) *int { return &c.Redis.PoolSize }).with(yielding),
	key("redis.dial_timeout", duration(time.Millisecond), "5s",
		"timeout for connecting; with a uri, defaults to its option",
		func(c *Config) *time.Duration { return &c.Redis.DialTimeout }).with(yielding),
}, tlsRows("redis", "; a rediss uri sets it", func(c *Config) *TLS { return &c.Redis.TLS })...)

var rabbitRows = append([]row{
	mapping("rabbitmq", "carries calls, hints and messages; requires mongodb and redis", func(c *Config) {
		c.RabbitMQ = new(RabbitMQ)
	}),
	key("rabbitmq.uri", uri(amqpDialect), "",
		"an amqp:// or amqps:// URI, with the nodes of a cluster separated by commas; replaces host, port, vhost, username and password",
		func(c *Config) *Secret { return &c.RabbitMQ.URI }),
	key("rabbitmq.host", host, "127.0.0.1", "name or address of the server",
		func(c *Config) *string { return &c.RabbitMQ.Host }).with(excluded),
	key("rabbitmq.port", port, "5672", "its port; 5671 by default with TLS",
		func(c *Config) *int { return &c.RabbitMQ.Port }).with(excluded),
	key("rabbitmq.vhost", filled, "/", "virtual host, not escaped",
		func(c *Config) *string { return &c.RabbitMQ.VHost }).with(excluded),
	key("rabbitmq.username", text, "", "user; the server's guest if unset",
		func(c *Config) *string { return &c.RabbitMQ.Username }).with(excluded),
	key("rabbitmq.password", secret, "", "the user's password, not escaped",
		func(c *Config) *Secret { return &c.RabbitMQ.Password }).with(excluded),
	key("rabbitmq.connect_timeout", duration(time.Millisecond), "10s",
		"timeout for connecting; with a uri, defaults to its option",
		func(c *Config) *time.Duration { return &c.RabbitMQ.ConnectTimeout }).with(yielding),
	key("rabbitmq.heartbeat", duration(time.Second), "10s",
		"heartbeat offered to the server, in whole seconds; with a uri, defaults to its option",
		func(c *Config) *time.Duration { return &c.RabbitMQ.Heartbeat }).with(yielding),
	key("rabbitmq.quorum", boolean, "false",
		"whether hints and raw messages use quorum queues (replicated, slower); must be the same for all programs",
		func(c *Config) *bool { return &c.RabbitMQ.Quorum }),
}, tlsRows("rabbitmq", "; an amqps uri sets it", func(c *Config) *TLS { return &c.RabbitMQ.TLS })...)

// tlsRows returns the TLS keys of a server.
func tlsRows(section, enabledDoc string, at func(*Config) *TLS) []row {
	section += ".tls"
	return []row{
		mapping(section, "TLS to this server", nil),
		key(section+".enabled", boolean, "false", "whether to use TLS; required if another key of tls is set"+enabledDoc,
			func(c *Config) *bool { return &at(c).Enabled }),
		key(section+".ca_file", text, "", "PEM file of the trusted authorities; the system's if unset",
			func(c *Config) *string { return &at(c).CAFile }),
		key(section+".cert_file", text, "", "PEM file of the client's certificate; requires key_file",
			func(c *Config) *string { return &at(c).CertFile }),
		key(section+".key_file", text, "", "PEM file of the client's key; requires cert_file",
			func(c *Config) *string { return &at(c).KeyFile }),
		key(section+".server_name", text, "", "name in the server's certificate; the host if unset",
			func(c *Config) *string { return &at(c).ServerName }),
	}
}

var otherRows = []row{
	mapping("servers", "the three servers together", nil),
	key("servers.start_degraded", boolean, "false",
		"whether to start while some servers are unreachable; features that need them become available later",
		func(c *Config) *bool { return &c.Servers.StartDegraded }),

	mapping("logger", "the log: daily files, the console (standard error), or both", nil),
	key("logger.path", text, "logs", `directory of the daily log files, which have JSON; "" for no files`,
		func(c *Config) *string { return &c.Logger.Path }),
	key("logger.level", level, "info", "minimum level: debug, info, warn (or warning) or error, case-insensitive",
		func(c *Config) *slog.Level { return &c.Logger.Level }),
	key("logger.console", boolean, "true", "whether to log to the console; false requires a path",
		func(c *Config) *bool { return &c.Logger.Console }),
	key("logger.format", oneOf(FormatText, FormatJSON), "text", "format on the console, text or json; requires console",
		func(c *Config) *Format { return &c.Logger.Format }),

	mapping("embedded", "the backend without servers", nil),
	key("embedded.path", filled, ".af/af.db", "its file",
		func(c *Config) *string { return &c.Embedded.Path }),
	key("embedded.durability", oneOf(DurabilityNormal, DurabilityFull), "normal",
		"normal may lose the last moments on a power failure, full syncs each commit",
		func(c *Config) *Durability { return &c.Embedded.Durability }),

	mapping("tasks", "the task engine, on either backend", nil),
	mapping("tasks.retention", "how long finished tasks are kept; the limit reached first applies", nil),
	key("tasks.retention.age", duration(time.Second), "168h", "age at which a finished task is removed",
		func(c *Config) *time.Duration { return &c.Tasks.Retention.Age }),
	key("tasks.retention.max", integer(1, 1_000_000_000), "100000", "maximum number of finished tasks kept in a queue",
		func(c *Config) *int { return &c.Tasks.Retention.Max }),
	key("tasks.lease", duration(3*time.Second), "20s",
		"time without heartbeats after which an instance counts as dead and others take over its tasks, at least 3s",
		func(c *Config) *time.Duration { return &c.Tasks.Lease }),
	key("tasks.wrong_version_after", duration(time.Second), "24h",
		"how long a task submitted by another version of the program waits for a worker of that version",
		func(c *Config) *time.Duration { return &c.Tasks.WrongVersionAfter }),
	key("tasks.ip", ip, "", "address this instance reports; detected if unset",
		func(c *Config) *string { return &c.Tasks.IP }),

	mapping("dashboard", "the web pages of package dashboard, served if this section is present", func(c *Config) {
		c.Dashboard = new(Dashboard)
	}),
	key("dashboard.listen", address, "127.0.0.1:8090",
		"host and port; beyond this machine only if the program passes dashboard.Authorize",
		func(c *Config) *string { return &c.Dashboard.Listen }),
	key("dashboard.write", boolean, "false", "whether anything may be changed, with the token that is logged",
		func(c *Config) *bool { return &c.Dashboard.Write }),
	key("dashboard.hosts", hosts, "",
		"comma-separated names under which browsers reach it, in addition to localhost, 127.0.0.1 and [::1]",
		func(c *Config) *[]string { return &c.Dashboard.Hosts }),

	workersRow,
}

// workersRow is the section whose keys are names of queues.
var workersRow = mapping("workers", "settings of workers, by queue", nil)

// secretNames has the last part of each secret key's name.
var secretNames = func() map[string]bool {
	names := make(map[string]bool)
	for _, r := range rows {
		if r.secret {
			names[r.Name[strings.LastIndex(r.Name, ".")+1:]] = true
		}
	}
	return names
}()

// children returns the rows directly below the mapping called name; "" is the top level.
func children(name string) []row {
	if name != "" {
		name += "."
	}
	var found []row
	for _, r := range rows {
		if rest, ok := strings.CutPrefix(r.Name, name); ok && !strings.Contains(rest, ".") {
			found = append(found, r)
		}
	}
	return found
}

// setDefaults sets the defaults of all keys below name. With "" it sets those of all sections except the servers'.
func setDefaults(c *Config, name string) {
	for _, r := range children(name) {
		switch {
		case r.set == nil && r.open == nil:
			setDefaults(c, r.Name)
		case r.set != nil && r.Default != "":
			// A test checks that all defaults are valid.
			r.set(c, r.Default)
		}
	}
}
