// Package overservers plays the night on call of package oncall over RabbitMQ, MongoDB and Redis. It consists of tests.
package overservers

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/cmd/af/internal/oncall"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// The last problem of the night is that RabbitMQ can't be reached.
func TestNightOnServers(t *testing.T) {
	rabbit, uri := testkit.NewProxyURI(t, devstack.AMQP(t), testkit.ProxyConfig{})
	file := filepath.Join(t.TempDir(), "config.yaml")
	testkit.Write(t, file, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\nlogger: {path: \"\"}\n",
		devstack.Mongo(t), devstack.Redis(t), uri))
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	document := filepath.FromSlash("../../../../../docs/operations.md")
	shop := oncall.Play(t, servers.From(cfg), []string{"-c", file}, document, false)
	rabbit.Refuse()
	shop.Ask("af doctor", 1, "degraded mode without-rabbitmq", "web-2: without-rabbitmq")
}
