package servers_test

import (
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/config"
)

// A parsedURI is a driver's reading of a URI.
type parsedURI struct {
	hosts    []string // with ports
	username string
	password string
	path     string // virtual host or database
}

// drivers parse URIs as the drivers do.
var drivers = map[string]func(uri string) (parsedURI, error){
	"rabbitmq": func(uri string) (parsedURI, error) {
		var p parsedURI
		for _, one := range (&config.RabbitMQ{URI: config.Secret(uri)}).ConnURIs() {
			u, err := amqp091.ParseURI(one.Reveal())
			if err != nil {
				return p, err
			}
			p = parsedURI{append(p.hosts, net.JoinHostPort(u.Host, itoa(u.Port))), u.Username, u.Password, u.Vhost}
		}
		return p, nil
	},
	"redis": func(uri string) (parsedURI, error) {
		o, err := redis.ParseURL(uri)
		if err != nil {
			return parsedURI{}, err
		}
		return parsedURI{[]string{o.Addr}, o.Username, o.Password, itoa(o.DB)}, nil
	},
	"mongodb": func(uri string) (parsedURI, error) {
		o := options.Client().ApplyURI(uri)
		if err := o.Validate(); err != nil {
			return parsedURI{}, err
		}
		p := parsedURI{}
		for _, h := range o.Hosts {
			if _, _, err := net.SplitHostPort(h); err != nil {
				h = net.JoinHostPort(strings.Trim(h, "[]"), "27017")
			}
			p.hosts = append(p.hosts, h)
		}
		if o.Auth != nil {
			p.username, p.password = o.Auth.Username, o.Auth.Password
		}
		return p, nil
	},
}

func itoa(n int) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// withURI returns a configuration with a URI in one section.
func withURI(section, uri string) (config.Config, error) {
	text, _ := json.Marshal(strings.ReplaceAll(uri, "${", "$${")) // can't fail for a string
	file := "mongodb: {}\nredis: {}\nrabbitmq: {}\n"
	return config.Parse("c.yaml", []byte(strings.Replace(file, section+": {}", section+": {uri: "+string(text)+"}", 1)),
		nil)
}

// A URI that the configuration accepts is accepted by the driver, unless an option is invalid, and leads to the hosts
// that messages name. Neither messages nor addresses contain a password.
func FuzzURI(f *testing.F) {
	for _, s := range []string{
		"amqp://u:p%40w@broker:5673/v%2Fh?heartbeat=5", "amqps://[fe80::1%25eth0]", "amqp://h",
		"amqp://u:p%2Cw@a,b:1,[::1]/%2F?heartbeat=5", "amqp://u@h:1//",
		"redis://:p%3Aw@10.0.0.1/3", "rediss://u:p@[::1]:7/",
		"redis://h/0?dial_timeout=3s", "mongodb://u:p%2Fw@a:1,b,[::1]:3/db?tls=true&authSource=admin", "mongodb://h",
		"mongodb://%2Ftmp%2Fm.sock/",
		"mongodb://u:@h/", "amqp://u:p@h:0", "redis://h:070", "AMQP://h", "amqp://u:p@w@h", "mongodb://a,,b", "mongodb://a+b",
		"mongodb://:p@h", "amqps://[fe80::1%25e]x%25e]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if !utf8.ValidString(uri) {
			return // not valid in YAML
		}
		section := map[string]string{"amqp": "rabbitmq", "amqps": "rabbitmq", "redis": "redis", "rediss": "redis",
			"mongodb": "mongodb"}[scheme(uri)]
		if section == "" {
			return
		}
		c, err := withURI(section, uri)
		password := passwordOf(uri)
		if err != nil {
			if len(password) > 3 && strings.Contains(err.Error(), password) {
				t.Errorf("%q: the message contains the password: %v", uri, err)
			}
			return
		}
		address := map[string]func() string{
			"rabbitmq": c.RabbitMQ.Address, "redis": c.Redis.Address, "mongodb": c.MongoDB.Address,
		}[section]()
		got, err := drivers[section](uri)
		if err != nil {
			if !strings.Contains(uri, "?") {
				t.Errorf("%q is accepted, but the driver rejects it: %v", uri, err)
			}
			return
		}
		if hosts := strings.Join(got.hosts, ","); hosts != address {
			t.Errorf("%q connects to %s, but messages name %s", uri, hosts, address)
		}
		if len(got.password) > 3 && !strings.Contains(strings.Join(got.hosts, ","), got.password) &&
			strings.Contains(address, got.password) {
			t.Errorf("%q: %s contains the password", uri, address)
		}
	})
}

func scheme(uri string) string {
	name, _, _ := strings.Cut(uri, "://")
	return name
}

// passwordOf returns the text between the first : and the last @ of a URI's authority.
func passwordOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	i := strings.LastIndex(rest, "@")
	if i < 0 {
		return ""
	}
	_, password, _ := strings.Cut(rest[:i], ":")
	return password
}

// A driver parses the user, password, virtual host and database that were put into a URI.
func FuzzConnURI(f *testing.F) {
	f.Add(uint8(0), uint16(5672), "user", "p@ss:w/rd?#%[]", "orders/eu", true)
	f.Add(uint8(2), uint16(1), "ü ", "\x00\xff+&=", "/", false)
	f.Add(uint8(1), uint16(65535), "a@b", "", "", false)
	hosts := []string{"h", "10.0.0.1", "::1", "fe80::1", "a.example.com"}
	f.Fuzz(func(t *testing.T, n uint8, number uint16, username, password, path string, tls bool) {
		host, port := hosts[int(n)%len(hosts)], int(number)
		if port == 0 || username == "" {
			return // the configuration doesn't allow them, or has defaults
		}
		want := parsedURI{[]string{net.JoinHostPort(host, itoa(port))}, username, password, path}
		secure := config.TLS{Enabled: tls}
		rabbit := config.RabbitMQ{Host: host, Port: port, VHost: path, Username: username, Password: config.Secret(password),
			TLS: secure}
		cache := config.Redis{Host: host, Port: port, DB: len(path), Username: username, Password: config.Secret(password),
			TLS: secure}
		store := config.MongoDB{Host: host, Port: port, DB: "db", Username: username, Password: config.Secret(password),
			TLS: secure}
		if path == "" {
			want.path = "/"
		}
		check(t, "rabbitmq", want, rabbit.ConnURI())
		if password != "" { // without one, ConnectionURI has no colon, and the driver uses guest's
			check(t, "rabbitmq", want, rabbit.ConnectionURI())
		}
		want.path = itoa(len(path))
		check(t, "redis", want, cache.ConnURI(), cache.ConnectionURI())
		want.path = ""
		check(t, "mongodb", want, store.ConnURI(), store.ConnectionURI())
	})
}

func check(t *testing.T, section string, want parsedURI, uris ...config.Secret) {
	t.Helper()
	for _, uri := range uris {
		got, err := drivers[section](uri.Reveal())
		if err != nil {
			t.Errorf("%q: %v", uri.Reveal(), err)
		} else if !slices.Equal(got.hosts, want.hosts) || got.username != want.username || got.password != want.password ||
			got.path != want.path {
			t.Errorf("%q parsed as %+v, want %+v", uri.Reveal(), got, want)
		}
		if u, err := url.Parse(uri.Reveal()); err != nil || u.User.Username() != want.username {
			t.Errorf("%q: %v", uri.Reveal(), err)
		}
	}
}
