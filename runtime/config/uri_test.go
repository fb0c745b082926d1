package config_test

import (
	"net/url"
	"testing"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/runtime/config"
)

func TestURIFromParts(t *testing.T) {
	for name, test := range map[string]struct {
		server interface {
			ConnectionURI() config.Secret
			Address() string
		}
		uri, address string
	}{
		"mongodb_zero":  {config.MongoDB{}, "mongodb://127.0.0.1:27017/", "127.0.0.1:27017"},
		"redis_zero":    {config.Redis{}, "redis://127.0.0.1:6379/0", "127.0.0.1:6379"},
		"rabbitmq_zero": {config.RabbitMQ{}, "amqp://127.0.0.1:5672/%2F", "127.0.0.1:5672"},
		"mongodb": {config.MongoDB{Host: "h", Port: 1, DB: "d", Username: "u", Password: "p:/?#[]@%+ ä"},
			"mongodb://u:p%3A%2F%3F%23%5B%5D%40%25%2B%20%C3%A4@h:1/", "h:1"},
		"redis": {config.Redis{Host: "h", Port: 1, DB: 2, Password: "p@/"}, "redis://:p%40%2F@h:1/2", "h:1"},
		"rabbitmq": {config.RabbitMQ{Host: "h", Port: 1, VHost: "a/b c", Username: "u@x"},
			"amqp://u%40x@h:1/a%2Fb%20c", "h:1"},
		"mongodb_tls": {config.MongoDB{TLS: config.TLS{Enabled: true}},
			"mongodb://127.0.0.1:27017/?tls=true", "127.0.0.1:27017"},
		"redis_tls":    {config.Redis{TLS: config.TLS{Enabled: true}}, "rediss://127.0.0.1:6379/0", "127.0.0.1:6379"},
		"rabbitmq_tls": {config.RabbitMQ{TLS: config.TLS{Enabled: true}}, "amqps://127.0.0.1:5671/%2F", "127.0.0.1:5671"},
		"IPv6":         {config.Redis{Host: "2001:db8::1", Port: 1}, "redis://[2001:db8::1]:1/0", "[2001:db8::1]:1"},
		"ipv6_with_zone": {config.RabbitMQ{Host: "fe80::1%eth0", Port: 1},
			"amqp://[fe80::1%25eth0]:1/%2F", "[fe80::1%eth0]:1"},
		"uri_as_it_is": {config.MongoDB{URI: "mongodb://u:p@a,b:1/x?y=z", Host: "h"},
			"mongodb://u:p@a,b:1/x?y=z", "a:27017,b:1"},
		"mongodb+srv": {config.MongoDB{URI: "mongodb+srv://u:p@c.example.com/x"},
			"mongodb+srv://u:p@c.example.com/x", "c.example.com"},
		"redis_uri":    {config.Redis{URI: "rediss://:p@[::1]"}, "rediss://:p@[::1]", "[::1]:6379"},
		"rabbitmq_uri": {config.RabbitMQ{URI: "amqps://u:p@b"}, "amqps://u:p@b", "b:5671"},
		"no_uri":       {config.Redis{URI: "redis://:pa/ss@h"}, "redis://:pa/ss@h", ""},
		"foreign_uri":  {config.Redis{URI: "amqp://u:p@h"}, "amqp://u:p@h", ""},
		"bracketed_hosts": {config.MongoDB{URI: "mongodb://[::1]:1,[fe80::1%25eth0]"}, "mongodb://[::1]:1,[fe80::1%25eth0]",
			"[::1]:1,[fe80::1%eth0]:27017"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.server.ConnectionURI().Reveal(); got != test.uri {
				t.Errorf("uri %s, want %s", got, test.uri)
			}
			if got := test.server.Address(); got != test.address {
				t.Errorf("address %s, want %s", got, test.address)
			}
		})
	}
}

func TestInvalidURIsAreRefused(t *testing.T) {
	const (
		escape = " has a blank, a control character or a % that is not followed by two hexadecimal digits; write a % as %25"
		where  = " has a misplaced : / ? # or @; in a user name or password write %3A %2F %3F %23 %40"
		host   = " must have a valid host, an IPv6 address in brackets"
		port   = " must have a port from 1 to 65535, or none"
	)
	for _, test := range []struct{ section, uri, want string }{
		{"mongodb", "mongodb://h1,h2:2,[::1]:3/db?replicaSet=r", ""},
		{"mongodb", "mongodb+srv://u:p@c.example.com/?retryWrites=true", ""},
		{"redis", "redis://h", ""},
		{"redis", "rediss://:p%40@h:6380/3?dial_timeout=3s", ""},
		{"rabbitmq", "amqp://h/%2F", ""},
		{"rabbitmq", "amqps://u@h:1/a%2Fb", ""},
		{"redis", "redis://h_1.example-2.com", ""},

		{"mongodb", "redis://h", " must begin with mongodb:// or mongodb+srv://"},
		{"mongodb", "MONGODB://h", " must begin with mongodb:// or mongodb+srv://"},
		{"redis", "h:6379", " must begin with redis:// or rediss://"},
		{"rabbitmq", "http://h", " must begin with amqp:// or amqps://"},
		{"redis", "redis://:a b@h", escape},
		{"redis", "redis://:a%@h", escape},
		{"redis", "redis://:a%4@h", escape},
		{"redis", "redis://:a%gg@h", escape},
		{"redis", "redis://h/1%", escape},
		{"mongodb", "mongodb://:p@h", " must have a user name before the @"},
		{"rabbitmq", "amqp://[fe80::1%25e]x%25e]", " must have a valid host, an IPv6 address in brackets"},
		{"mongodb", "mongodb://a+b", " must have a valid host, an IPv6 address in brackets"},
		{"redis", "redis://:a@b@h", where},
		{"redis", "redis://u:a:b@h", where},
		{"redis", "redis://u:1/2@h", where},
		{"redis", "redis://u:1#2@h", where},
		{"redis", "redis://u:1?2@h", where},
		{"redis", "redis://h/#1", where},
		{"redis", "redis://:a^b`@h", " is not a valid URI; percent-encode every special character of user name and password"},
		{"redis", "redis://", " must name a host"},
		{"redis", "redis://:p@/1", " must name a host"},
		{"redis", "redis://:p@:1", " must name a host"},
		{"mongodb", "mongodb://a,,b", " must name a host"},
		{"redis", "redis://a,b", host},
		{"mongodb", "mongodb+srv://a,b", host},
		{"redis", "redis://[::1", host},
		{"redis", "redis://[h]", host},
		{"redis", "redis://[::1]x:1", host},
		{"redis", "redis://::1", " must name a host"},
		{"mongodb", "mongodb://a::1", port},
		{"redis", "redis://h:0", port},
		{"redis", "redis://h:65536", port},
		{"redis", "redis://h:", port},
		{"redis", "redis://[::1]:x", port},
		{"mongodb", "mongodb+srv://h:1", " must have no port with this scheme"},
		{"mongodb", "mongodb://h/a/b", " must have the name of a database, or nothing, as its path"},
		{"redis", "redis://h/a", " must have the number of a database, or nothing, as its path"},
	} {
		t.Run(test.uri, func(t *testing.T) {
			data := servers(test.section, "  uri: \""+test.uri+"\"\n")
			_, err := config.Parse("c.yaml", []byte(data), env(nil))
			var got string
			if err != nil {
				got = parts(t, err)[0].Message
			}
			want := test.want
			if want != "" {
				want = test.section + ".uri" + want
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// A URI built from any parts parses to the same parts, and its address shows nothing else.
func TestURIPartsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.SampledFrom([]string{"h", "db.example.com", "10.0.0.1", "::1", "fe80::1%eth0"}).Draw(t, "host")
		port := rapid.IntRange(1, 65535).Draw(t, "port")
		user := rapid.StringN(1, -1, -1).Draw(t, "user")
		password := rapid.String().Draw(t, "password")
		vhost := rapid.StringN(1, -1, -1).Draw(t, "vhost")
		tls := config.TLS{Enabled: rapid.Bool().Draw(t, "tls")}
		secret := config.Secret(password)

		m := config.MongoDB{Host: host, Port: port, Username: user, Password: secret, TLS: tls}
		r := config.Redis{Host: host, Port: port, DB: port, Username: user, Password: secret, TLS: tls}
		q := config.RabbitMQ{Host: host, Port: port, VHost: vhost, Username: user, Password: secret, TLS: tls}
		for _, uri := range []config.Secret{m.ConnectionURI(), r.ConnectionURI(), q.ConnectionURI()} {
			u, err := url.Parse(uri.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := u.User.Password(); got != password || u.User.Username() != user || u.Hostname() != host {
				t.Errorf("%s says user %q, password %q, host %q", uri.Reveal(), u.User.Username(), got, u.Hostname())
			}
		}
		if u, _ := url.Parse(q.ConnectionURI().Reveal()); u.Path != "/"+vhost {
			t.Errorf("vhost is %q, want %q", u.Path[1:], vhost)
		}
		for _, addresses := range [][2]string{
			{m.Address(), config.MongoDB{URI: m.ConnectionURI()}.Address()},
			{r.Address(), config.Redis{URI: r.ConnectionURI()}.Address()},
			{q.Address(), config.RabbitMQ{URI: q.ConnectionURI()}.Address()},
		} {
			if addresses[0] != addresses[1] {
				t.Errorf("address %s of the parts, %s of their URI", addresses[0], addresses[1])
			}
		}
	})
}
