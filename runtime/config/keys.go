package config

import (
	"log/slog"
	"slices"
	"strings"
	"time"
)

// A Key describes one key of the file, or one mapping of keys.
type Key struct {
	Name    string // dotted, such as "redis.tls.ca_file"
	Type    string // "mapping" for those that hold other keys
	Default string // as one would write it; "" where there is none
	Doc     string // one line, without a full stop
}

// Keys returns every key there is, in the order one would write them in, each mapping before its keys.
func Keys() []Key {
	keys := make([]Key, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	return keys
}

// A row is a Key and all that reading it takes.
type row struct {
	Key
	secret bool
	mute   bool
	// set stores a value, or says what is wrong with it; clear stores the zero value. Both are nil for a mapping.
	set   func(c *Config, text string) (problem string)
	clear func(c *Config)
	// open makes the section of a server; it is nil for everything else.
	open func(c *Config)
	uri  withURI
}

// withURI is what becomes of a key of a server's section when the section has a uri.
type withURI int

const (
	independent withURI = iota // nothing
	excluded                   // must not be written, the URI says it
	yielding                   // its default gives way to the URI's own options
)

// key makes the row of a value of type T.
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

// mapping makes the row of a mapping; open is nil unless it is the section of a server.
func mapping(name, doc string, open func(*Config)) row {
	return row{Key: Key{Name: name, Type: "mapping", Doc: doc}, open: open}
}

// with sets what becomes of r when there is a uri.
func (r row) with(rule withURI) row {
	r.uri = rule
	return r
}

// rows is everything there is to know about the keys: reading, the search for unknown ones and the documentation all
// follow it.
var rows = slices.Concat(mongoRows, redisRows, rabbitRows, otherRows)

var mongoRows = append([]row{
	mapping("mongodb", "keeps tasks, jobs and the registry; only together with redis and rabbitmq", func(c *Config) {
		c.MongoDB = new(MongoDB)
	}),
	key("mongodb.uri", uri(mongoDialect), "", "a whole mongodb:// or mongodb+srv:// URI, instead of host, port, username and password",
		func(c *Config) *Secret { return &c.MongoDB.URI }),
	key("mongodb.host", host, "127.0.0.1", "name or address of the server",
		func(c *Config) *string { return &c.MongoDB.Host }).with(excluded),
	key("mongodb.port", port, "27017", "its port",
		func(c *Config) *int { return &c.MongoDB.Port }).with(excluded),
	key("mongodb.db", database, "afgen", "name of the database; with a uri, the one in its path is the default",
		func(c *Config) *string { return &c.MongoDB.DB }),
	key("mongodb.username", text, "", "user, looked up in the database admin",
		func(c *Config) *string { return &c.MongoDB.Username }).with(excluded),
	key("mongodb.password", secret, "", "the user's password, as it is, not escaped",
		func(c *Config) *Secret { return &c.MongoDB.Password }).with(excluded),
	key("mongodb.max_pool", integer(1, 10000), "100", "most connections at once to one server; with a uri, its option is the default",
		func(c *Config) *int { return &c.MongoDB.MaxPool }).with(yielding),
	key("mongodb.connect_timeout", duration(time.Millisecond), "5s", "how long connecting may take; with a uri, its option is the default",
		func(c *Config) *time.Duration { return &c.MongoDB.ConnectTimeout }).with(yielding),
}, tlsRows("mongodb", "", func(c *Config) *TLS { return &c.MongoDB.TLS })...)

var redisRows = append([]row{
	mapping("redis", "carries wake-ups and presence; only together with mongodb and rabbitmq", func(c *Config) {
		c.Redis = new(Redis)
	}),
	key("redis.uri", uri(redisDialect), "", "a whole redis:// or rediss:// URI, instead of host, port, db, username and password",
		func(c *Config) *Secret { return &c.Redis.URI }),
	key("redis.host", host, "127.0.0.1", "name or address of the server",
		func(c *Config) *string { return &c.Redis.Host }).with(excluded),
	key("redis.port", port, "6379", "its port",
		func(c *Config) *int { return &c.Redis.Port }).with(excluded),
	key("redis.db", integer(0, 65535), "0", "number of the database",
		func(c *Config) *int { return &c.Redis.DB }).with(excluded),
	key("redis.username", text, "", "user; none for a server that knows only a password",
		func(c *Config) *string { return &c.Redis.Username }).with(excluded),
	key("redis.password", secret, "", "password, as it is, not escaped",
		func(c *Config) *Secret { return &c.Redis.Password }).with(excluded),
	key("redis.pool_size", integer(1, 10000), "20", "most connections at once; with a uri, its option is the default",
		func(c *Config) *int { return &c.Redis.PoolSize }).with(yielding),
	key("redis.dial_timeout", duration(time.Millisecond), "5s", "how long connecting may take; with a uri, its option is the default",
		func(c *Config) *time.Duration { return &c.Redis.DialTimeout }).with(yielding),
}, tlsRows("redis", "; a rediss uri sets it", func(c *Config) *TLS { return &c.Redis.TLS })...)

var rabbitRows = append([]row{
	mapping("rabbitmq", "carries calls, hints and messages; only together with mongodb and redis", func(c *Config) {
		c.RabbitMQ = new(RabbitMQ)
	}),
	key("rabbitmq.uri", uri(amqpDialect), "", "a whole amqp:// or amqps:// URI, instead of host, port, vhost, username and password",
		func(c *Config) *Secret { return &c.RabbitMQ.URI }),
	key("rabbitmq.host", host, "127.0.0.1", "name or address of the server",
		func(c *Config) *string { return &c.RabbitMQ.Host }).with(excluded),
	key("rabbitmq.port", port, "5672", "its port; the default with tls is 5671",
		func(c *Config) *int { return &c.RabbitMQ.Port }).with(excluded),
	key("rabbitmq.vhost", filled, "/", "virtual host, as it is, not escaped",
		func(c *Config) *string { return &c.RabbitMQ.VHost }).with(excluded),
	key("rabbitmq.username", text, "", "user; the server's guest when there is none",
		func(c *Config) *string { return &c.RabbitMQ.Username }).with(excluded),
	key("rabbitmq.password", secret, "", "the user's password, as it is, not escaped",
		func(c *Config) *Secret { return &c.RabbitMQ.Password }).with(excluded),
	key("rabbitmq.connect_timeout", duration(time.Millisecond), "10s", "how long connecting may take; with a uri, its option is the default",
		func(c *Config) *time.Duration { return &c.RabbitMQ.ConnectTimeout }).with(yielding),
	key("rabbitmq.heartbeat", duration(time.Second), "10s", "heartbeat offered to the server, in whole seconds; with a uri, its option is the default",
		func(c *Config) *time.Duration { return &c.RabbitMQ.Heartbeat }).with(yielding),
	key("rabbitmq.quorum", boolean, "false", "whether the queues of hints and raw messages are quorum queues: replicated, and slower; the same for all programs",
		func(c *Config) *bool { return &c.RabbitMQ.Quorum }),
}, tlsRows("rabbitmq", "; an amqps uri sets it", func(c *Config) *TLS { return &c.RabbitMQ.TLS })...)

// tlsRows are the same for each server.
func tlsRows(section, enabledDoc string, at func(*Config) *TLS) []row {
	section += ".tls"
	return []row{
		mapping(section, "TLS to this server", nil),
		key(section+".enabled", boolean, "false", "whether to use TLS; to be written beside any other key of tls"+enabledDoc,
			func(c *Config) *bool { return &at(c).Enabled }),
		key(section+".ca_file", text, "", "PEM file of the authorities to trust; the system's when there is none",
			func(c *Config) *string { return &at(c).CAFile }),
		key(section+".cert_file", text, "", "PEM file of the client's certificate; only together with key_file",
			func(c *Config) *string { return &at(c).CertFile }),
		key(section+".key_file", text, "", "PEM file of the client's key; only together with cert_file",
			func(c *Config) *string { return &at(c).KeyFile }),
		key(section+".server_name", text, "", "name the server's certificate must bear; the host when there is none",
			func(c *Config) *string { return &at(c).ServerName }),
	}
}

var otherRows = []row{
	mapping("servers", "the three servers together", nil),
	key("servers.start_degraded", boolean, "false", "whether to start though some of them can't be reached, without what needs those until they come",
		func(c *Config) *bool { return &c.Servers.StartDegraded }),

	mapping("logger", "where the program's log goes", nil),
	key("logger.path", filled, "logs", "folder of the daily log files",
		func(c *Config) *string { return &c.Logger.Path }),
	key("logger.level", level, "info", "least level worth writing: debug, info, warn (or warning) or error, in any case",
		func(c *Config) *slog.Level { return &c.Logger.Level }),

	mapping("embedded", "the backend of a program without the three servers", nil),
	key("embedded.path", filled, ".af/af.db", "its file",
		func(c *Config) *string { return &c.Embedded.Path }),
	key("embedded.durability", oneOf(DurabilityNormal, DurabilityFull), "normal", "normal may lose the last moments before a power failure, full syncs each commit",
		func(c *Config) *Durability { return &c.Embedded.Durability }),

	mapping("tasks", "the task engine, over either backend", nil),
	mapping("tasks.retention", "how long finished tasks are kept; the limit reached first counts", nil),
	key("tasks.retention.age", duration(time.Second), "168h", "age at which a finished task is removed",
		func(c *Config) *time.Duration { return &c.Tasks.Retention.Age }),
	key("tasks.retention.max", integer(1, 1_000_000_000), "100000", "most finished tasks kept in a queue",
		func(c *Config) *int { return &c.Tasks.Retention.Max }),
	key("tasks.lease", duration(3*time.Second), "10s", "silence after which an instance counts as dead and its tasks go to others, at least 3s",
		func(c *Config) *time.Duration { return &c.Tasks.Lease }),
	key("tasks.wrong_version_after", duration(time.Second), "24h", "how long a task that another version of the program submitted waits for a worker of its version",
		func(c *Config) *time.Duration { return &c.Tasks.WrongVersionAfter }),
	key("tasks.ip", ip, "", "address this instance reports; found out when there is none",
		func(c *Config) *string { return &c.Tasks.IP }),
}

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

// children returns the rows right below the mapping of that name, or the top ones for "".
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

// setDefaults fills the fields of every key below name that has a default; below "", of all that no section of a server
// holds.
func setDefaults(c *Config, name string) {
	for _, r := range children(name) {
		switch {
		case r.set == nil && r.open == nil:
			setDefaults(c, r.Name)
		case r.set != nil && r.Default != "":
			// A test sees to it that no default is refused.
			r.set(c, r.Default)
		}
	}
}
