package main

import (
	"context"
	"fmt"
	"os"

	"github.com/afgen/afgen/internal/devstack"
)

// bringUpServers starts servers unless the environment names them, and sets the environment variables for both sides.
// Each benchmark creates a database and a virtual host for itself and removes them.
func (c *comparison) bringUpServers(ctx context.Context) error {
	for _, k := range devstack.Kinds() {
		if os.Getenv(k.Variable()) != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(c.log, "bringing up %s\n", k)
		s, err := devstack.Up(k)
		if err != nil {
			return fmt.Errorf("no %s: %w\nInstall what is missing, set %s to the URI of a server, or leave out the "+
				"benchmarks that need servers, as with -bench './(memory|embedded)'", k, err, k.Variable())
		}
		c.env = append(c.env, k.Variable()+"="+s.URI)
		if k == devstack.RabbitMQ {
			c.env = append(c.env, fmt.Sprintf("%s_ADMIN=http://127.0.0.1:%d", k.Variable(), s.AdminPort))
		}
	}
	return nil
}
