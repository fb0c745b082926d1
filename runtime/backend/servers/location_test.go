package servers

import (
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/config"
)

// The location has what programs must share, and no secrets.
func TestLocationHasAddressesWithoutSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"mongodb: \nredis: \nrabbitmq: \n": "mongodb=127.0.0.1:27017/afgen redis=127.0.0.1:6379/0 " +
			"rabbitmq=127.0.0.1:5672",
		"mongodb: {host: m, port: 1, db: shop, username: u, password: hunter2}\n" +
			"redis: {host: r, port: 2, db: 3, password: hunter2}\n" +
			"rabbitmq: {host: q, port: 4, vhost: v/w, username: u, password: hunter2}\n": "mongodb=m:1/shop redis=r:2/3 " +
			"rabbitmq=q:4/v/w",
		"mongodb: {uri: 'mongodb://u:hunter2@m1,m2:9/shop?authSource=admin'}\n" +
			"redis: {uri: 'rediss://:hunter2@r/5'}\n" +
			"rabbitmq: {uri: 'amqps://u:hunter2@q1,q2:7/v%2Fw'}\n": "mongodb=m1:27017,m2:9/shop redis=r:6379/5 " +
			"rabbitmq=q1:5671,q2:7/v/w",
		"mongodb: {uri: 'mongodb+srv://u:hunter2%2F@cluster.example.com', db: x}\n" +
			"redis: {uri: 'redis://u:hunter2%40@r'}\nrabbitmq: {uri: 'amqp://u:hunter2%3A@q'}\n": "mongodb=cluster." +
			"example.com/x redis=r:6379 rabbitmq=q:5672",
	} {
		cfg, err := config.Parse("config.yaml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := location(cfg); got != want || strings.Contains(got, "hunter2") {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}
