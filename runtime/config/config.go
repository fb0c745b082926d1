package config

import (
	"errors"
	"log/slog"
	"strings"
	"time"
)

// A Config is the content of a configuration file, with defaults filled in. The three servers' sections are nil if
// the file doesn't have them. A field documented as a key's has that key's default and limits; [Keys] lists them.
type Config struct {
	MongoDB  *MongoDB
	Redis    *Redis
	RabbitMQ *RabbitMQ
	Servers  Servers
	Logger   Logger
	Embedded Embedded
	Tasks    Tasks
	Workers  *Workers // nil unless the file has settings of a worker
	// Dashboard is nil unless the file has the section.
	Dashboard *Dashboard

	// Root is the absolute path of the directory of the file that Load read, or "". It isn't a key of the file. Paths in
	// the file are relative to the working directory, not to Root.
	Root string
	// File is the absolute path of the file that Load read, or "". It isn't a key of the file.
	File string
}

// MongoDB configures the MongoDB server, which stores tasks, jobs and the registry.
//
// Either URI is set, or Host, Port and related fields. Parse enforces this, and leaves the fields that a URI replaces
// zero. If URI is set and the file has no key for MaxPool or ConnectTimeout, the field is zero; then the URI's option
// applies, or the driver's default.
type MongoDB struct {
	URI            Secret // mongodb:// or mongodb+srv://, several hosts and options allowed
	Host           string
	Port           int
	DB             string // defaults to the database in the URI's path
	Username       string
	Password       Secret
	TLS            TLS
	MaxPool        int
	ConnectTimeout time.Duration
}

// Redis configures the Redis server, which carries wake-ups and presence.
//
// Either URI is set, or Host, Port, DB and related fields. Parse enforces this, and leaves the fields that a URI
// replaces zero. If URI is set and the file has no key for PoolSize or DialTimeout, the field is zero; then the URI's
// option applies, or the driver's default.
type Redis struct {
	URI         Secret // redis:// or rediss://; the path is the database number
	Host        string
	Port        int
	DB          int
	Username    string
	Password    Secret
	TLS         TLS
	PoolSize    int
	DialTimeout time.Duration
}

// RabbitMQ configures the RabbitMQ server, which carries calls, hints and raw messages.
//
// Either URI is set, or Host, Port, VHost and related fields. Parse enforces this, and leaves the fields that a URI
// replaces zero. If URI is set and the file has no key for ConnectTimeout or Heartbeat, the field is zero; then the
// URI's option applies, or the driver's default.
type RabbitMQ struct {
	URI            Secret // amqp:// or amqps://, several hosts allowed; the path is the percent-encoded virtual host
	Host           string
	Port           int
	VHost          string
	Username       string
	Password       Secret
	TLS            TLS
	ConnectTimeout time.Duration
	Heartbeat      time.Duration
	Quorum         bool // quorum queues for hints and raw messages
}

// Servers configures the use of the three servers together. The embedded backend ignores it.
type Servers struct {
	StartDegraded bool
}

// TLS configures TLS to a server. Relative paths are relative to the working directory. Parse doesn't check whether
// the files exist.
type TLS struct {
	// Enabled is also set by Parse for a rediss or amqps URI. For MongoDB with a URI, false leaves the decision to the
	// URI.
	Enabled bool
	// CAFile has the trusted authorities; "" means the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate and key: both or neither.
	CertFile string
	KeyFile  string
	// ServerName is the name in the server's certificate; "" means the host connected to.
	ServerName string
}

// Logger configures the log: files with JSON, the console (standard error), or both. An empty Format, as in a Logger
// that Parse has not filled in, means text to the console, whatever Console is.
type Logger struct {
	Path    string // directory of the files; "" means none
	Level   slog.Level
	Console bool
	Format  Format // of the console
}

// Format is the format of records on the console.
type Format string

const (
	FormatText Format = "text" // key=value pairs
	FormatJSON Format = "json" // an object per line, as in files
)

// Embedded configures the embedded backend's file and durability. The servers ignore it.
type Embedded struct {
	Path       string
	Durability Durability
}

// Durability is the embedded backend's guarantee for a power failure.
type Durability string

const (
	// DurabilityNormal survives the death of all processes. A power failure may lose the last moments.
	DurabilityNormal Durability = "normal"
	// DurabilityFull also survives a power failure. It syncs to disk on each commit.
	DurabilityFull Durability = "full"
)

// Tasks tunes the task engine on either backend.
type Tasks struct {
	Retention Retention
	Lease     time.Duration
	// WrongVersionAfter is how long a task submitted by another version waits for a worker of that version.
	WrongVersionAfter time.Duration
	IP                string // in canonical form; "" means that the instance detects it
}

// Retention limits how long finished tasks are kept. The limit reached first applies.
type Retention struct {
	Age time.Duration
	Max int
}

// Dashboard configures the address at which package dashboard serves its pages.
type Dashboard struct {
	Listen string   // host:port; port 0 is a free one
	Write  bool     // whether anything may be changed
	Hosts  []string // names, in lower case, under which browsers reach it, in addition to those of this machine
}

// Default returns the Config of an empty file.
func Default() Config {
	var c Config
	setDefaults(&c, "")
	return c
}

// Backend names the backend that a program runs on.
type Backend string

const (
	BackendEmbedded Backend = "embedded" // one file, nothing installed
	BackendServers  Backend = "servers"  // MongoDB, Redis and RabbitMQ
)

// Backend returns BackendEmbedded if none of the three servers' sections is set and BackendServers if all are.
// Otherwise it returns an error that names the missing sections. A Config from Parse or Load never fails: they report
// this error themselves, with positions.
func (c Config) Backend() (Backend, error) {
	backend, problem := c.backend(func(string) string { return "" })
	if problem != "" {
		return "", errors.New("config: " + problem)
	}
	return backend, nil
}

// backend is Backend with a function that returns what follows the name of a present section.
func (c Config) backend(where func(section string) string) (backend Backend, problem string) {
	var there, missing []string
	for _, s := range []struct {
		name string
		set  bool
	}{{"mongodb", c.MongoDB != nil}, {"redis", c.Redis != nil}, {"rabbitmq", c.RabbitMQ != nil}} {
		if s.set {
			there = append(there, s.name+where(s.name))
		} else {
			missing = append(missing, s.name)
		}
	}
	switch {
	case len(there) == 0:
		return BackendEmbedded, ""
	case len(missing) == 0:
		return BackendServers, ""
	}
	return "", isAre(missing) + " missing but " + isAre(there) +
		" set: configure all three of mongodb, redis and rabbitmq, or none for the embedded backend"
}

// isAre joins one or two names and adds their verb.
func isAre(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, " and ") + " are"
}
