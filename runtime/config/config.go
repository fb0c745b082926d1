package config

import (
	"errors"
	"log/slog"
	"strings"
	"time"
)

// A Config is what a configuration file says, defaults filled in. The three servers' sections are nil where the file
// doesn't have them. Every field documented as a key's has that key's default and limits; [Keys] lists them.
type Config struct {
	MongoDB  *MongoDB
	Redis    *Redis
	RabbitMQ *RabbitMQ
	Servers  Servers
	Logger   Logger
	Embedded Embedded
	Tasks    Tasks

	// Root is the folder of the file that Load has read, absolute: no key of the file. Paths in the file are relative to
	// the working directory nevertheless. "" where there was no file.
	Root string
}

// MongoDB says how to reach the MongoDB server that keeps tasks, jobs and the registry.
//
// Either URI is set, or Host and Port and what belongs to them; Parse sees to that, and leaves the fields that a URI
// takes the place of zero. MaxPool and ConnectTimeout are zero when there is a URI and their key was not written: then
// the URI's own option counts, or the driver's default.
type MongoDB struct {
	URI            Secret // mongodb:// or mongodb+srv://, several hosts and options allowed
	Host           string
	Port           int
	DB             string // when not written, the database in the URI's path counts
	Username       string
	Password       Secret
	TLS            TLS
	MaxPool        int
	ConnectTimeout time.Duration
}

// Redis says how to reach the Redis server that carries wake-ups and presence.
//
// Either URI is set, or Host, Port, DB and what belongs to them; Parse sees to that, and leaves the fields that a URI
// takes the place of zero. PoolSize and DialTimeout are zero when there is a URI and their key was not written: then
// the URI's own option counts, or the driver's default.
type Redis struct {
	URI         Secret // redis:// or rediss://, the number of the database as its path
	Host        string
	Port        int
	DB          int
	Username    string
	Password    Secret
	TLS         TLS
	PoolSize    int
	DialTimeout time.Duration
}

// RabbitMQ says how to reach the RabbitMQ server that carries calls, hints and raw messages.
//
// Either URI is set, or Host, Port, VHost and what belongs to them; Parse sees to that, and leaves the fields that a
// URI takes the place of zero. ConnectTimeout and Heartbeat are zero when there is a URI and their key was not written:
// then the URI's own option counts, or the driver's default.
type RabbitMQ struct {
	URI            Secret // amqp:// or amqps://, the virtual host as its path, percent-encoded
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

// Servers says how the three servers are used together. It has no effect over the embedded backend.
type Servers struct {
	StartDegraded bool
}

// TLS says whether, and as whom, to speak TLS to a server. Relative paths are relative to the working directory; Parse
// doesn't look whether the files exist.
type TLS struct {
	// Enabled is set by Parse for a rediss or amqps URI too. For MongoDB with a URI, false leaves it to the URI.
	Enabled bool
	// CAFile has the authorities to trust; "" means the system's.
	CAFile string
	// CertFile and KeyFile are the client's own: both or neither.
	CertFile string
	KeyFile  string
	// ServerName is the name the server's certificate must bear; "" means the host connected to.
	ServerName string
}

// Logger says where log files go and what is worth writing.
type Logger struct {
	Path  string
	Level slog.Level
}

// Embedded says where and how safely the embedded backend keeps its data. It has no effect over the servers.
type Embedded struct {
	Path       string
	Durability Durability
}

// Durability is what the embedded backend promises about a power failure.
type Durability string

const (
	// DurabilityNormal survives the death of every process; the last moments before a power failure may be lost.
	DurabilityNormal Durability = "normal"
	// DurabilityFull survives a power failure too, at the price of a sync to disk for each commit.
	DurabilityFull Durability = "full"
)

// Tasks tunes the task engine, on either backend.
type Tasks struct {
	Retention Retention
	Lease     time.Duration
	// WrongVersionAfter is how long a task that another version submitted waits for a worker of its version.
	WrongVersionAfter time.Duration
	IP                string // in canonical form; "" means that the instance finds out itself
}

// Retention says how long finished tasks are kept; whichever limit is reached first counts.
type Retention struct {
	Age time.Duration
	Max int
}

// Default returns what an empty file means.
func Default() Config {
	var c Config
	setDefaults(&c, "")
	return c
}

// Backend names what a program is to run on.
type Backend string

const (
	BackendEmbedded Backend = "embedded" // one file, nothing installed
	BackendServers  Backend = "servers"  // MongoDB, Redis and RabbitMQ
)

// Backend decides by the three servers' sections: none of them is BackendEmbedded, all three are BackendServers,
// anything between is an error that names those that are missing. A Config from Parse or Load never gives the error, as
// they have returned it themselves, with positions.
func (c Config) Backend() (Backend, error) {
	backend, problem := c.backend(func(string) string { return "" })
	if problem != "" {
		return "", errors.New("config: " + problem)
	}
	return backend, nil
}

// backend is Backend with a say in what follows the name of a section that is there.
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
		" there: write all three of mongodb, redis and rabbitmq, or none for the embedded backend"
}

// isAre lists one or two names with their verb.
func isAre(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, " and ") + " are"
}
