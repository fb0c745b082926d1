package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/dashboard"
)

const uiLong = `Ui serves the dashboard of the system on this machine, until it is interrupted.

It prints the address. Who opens it may change everything that you may: it has a secret token,
which is new each time. Others on this machine may read, also payloads.`

const uiExample = `  af ui
  af ui -listen :9000 -read-only
  af -url https://host/ops ui   # with the rights that AF_TOKEN has there`

func (c *invocation) uiCommand() *cobra.Command {
	listen, readOnly := "127.0.0.1:8090", false
	cmd := &cobra.Command{
		Use: "ui", Short: "Serve the dashboard on this machine", Long: uiLong, Example: uiExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.json() {
				return errors.New("ui has no JSON")
			}
			address, err := onThisMachine(listen)
			if err != nil {
				return err
			}
			return c.ui(cmd.Context(), config.Dashboard{Listen: address, Write: !readOnly})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", listen, "the `address`, of this machine; port 0 is a free one")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "nothing can be changed, and the address has no token")
	return cmd
}

// onThisMachine returns the address to listen on. Without a host, it is on the loopback interface.
func onThisMachine(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil || port == "":
		return "", fmt.Errorf("-listen %s: want a host and a port, such as 127.0.0.1:8090", listen)
	case host == "":
		host = "127.0.0.1"
	case !loopback(host):
		return "", fmt.Errorf("-listen %s: ui is only for this machine; package dashboard serves others", listen)
	}
	return net.JoinHostPort(host, port), nil
}

func (c *invocation) ui(ctx context.Context, cfg config.Dashboard) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if err := c.checkReadable(ctx, api); err != nil {
		return err
	}
	l, err := dashboard.Listen(api, cfg, dashboard.Operator(c.by()))
	switch {
	case af.CodeOf(err) == af.ErrAlreadyExists:
		return fmt.Errorf("%w; -listen :0 takes a free port", err)
	case err != nil:
		return fmt.Errorf("-listen %s: %w", cfg.Listen, err)
	}
	serving, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Serve(serving) }()
	_, printed := fmt.Fprintf(&c.Out, "%s\n", l.URL())
	if printed != nil {
		cancel()
	}
	c.note("the dashboard of %s; Ctrl-C ends it", text.Clean(c.conn.name))
	err = <-done
	cancel()
	return errors.Join(printed, err, ctx.Err())
}

// checkReadable returns an error if the system does not answer, so that not every page has to tell.
func (c *invocation) checkReadable(ctx context.Context, api admin.API) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := api.Overview(ctx)
	return err
}
