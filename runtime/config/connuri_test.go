package config_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestConnURIMatchesKeys(t *testing.T) {
	const odd = `p@ss:w/o?r#d%20` // unescaped
	const esc = `p%40ss%3Aw%2Fo%3Fr%23d%2520`
	c := parse(t, `
mongodb: {host: db.example, port: 1, db: shop, username: `+`"u@x", password: "`+odd+`"}
redis: {host: "::1", port: 2, db: 3, password: "`+odd+`", tls: {enabled: true}}
rabbitmq: {host: mq.example, port: 3, vhost: "/a b", username: u, password: "`+odd+`", tls: {enabled: true}}
`, nil)
	for got, want := range map[string]string{
		c.MongoDB.ConnURI().Reveal():  "mongodb://u%40x:" + esc + "@db.example:1/shop?authSource=admin",
		c.Redis.ConnURI().Reveal():    "rediss://:" + esc + "@[::1]:2/3",
		c.RabbitMQ.ConnURI().Reveal(): "amqps://u:" + esc + "@mq.example:3/%2Fa%20b",
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if s := fmt.Sprint(c.MongoDB.ConnURI(), c.Redis.ConnURI(), c.RabbitMQ.ConnURI()); strings.Contains(s, "ss") {
		t.Errorf("they print as %s", s)
	}
	// These URIs parse and round-trip.
	again := parse(t,
		fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", c.MongoDB.ConnURI().Reveal(),
			c.Redis.ConnURI().Reveal(), c.RabbitMQ.ConnURI().Reveal()), nil)
	equal(t, again.MongoDB.ConnURI(), c.MongoDB.ConnURI())
	equal(t, again.RabbitMQ.ConnURI(), c.RabbitMQ.ConnURI())
	equal(t, again.Redis.TLS.Enabled, true)
	equal(t, again.MongoDB.DB, "shop")
}

func TestConnURIsHaveOneHostEach(t *testing.T) {
	c := parse(t, `
mongodb: {}
redis: {}
rabbitmq: {uri: "amqp://u:p%2C%40w@a,b:1,[::1]:2/v%2C1?heartbeat=5"}
`, nil)
	equal(t, c.RabbitMQ.Address(), "a:5672,b:1,[::1]:2")
	var got []string
	for _, uri := range c.RabbitMQ.ConnURIs() {
		got = append(got, uri.Reveal())
	}
	equal(t, strings.Join(got, " "), "amqp://u:p%2C%40w@a/v%2C1?heartbeat=5 amqp://u:p%2C%40w@b:1/v%2C1?heartbeat=5 "+
		"amqp://u:p%2C%40w@[::1]:2/v%2C1?heartbeat=5")
}
