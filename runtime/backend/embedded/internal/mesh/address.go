package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// maxPath is the longest path of a unix socket that all systems support.
const maxPath = 100

// An Address is where a Mesh listens. It contains a secret: store it where only the user's own processes can read it.
type Address struct {
	ID      string `json:"id"`      // of the instance
	Network string `json:"network"` // "unix" or "tcp"
	Addr    string `json:"addr"`
	Token   string `json:"token"`
}

// String omits the secret.
func (a Address) String() string { return a.ID + " at " + a.Network + " " + a.Addr }

// LogValue omits the secret.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.String()) }

// check returns an error if a can't be dialed.
func (a Address) check() error {
	switch {
	case a.ID == "" || len(a.Token) < 2:
		return errors.New("incomplete address: no id or token")
	case a.Network == "unix":
		return nil
	case a.Network != "tcp":
		return fmt.Errorf("unsupported network %q", a.Network)
	}
	ap, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return err
	}
	if !ap.Addr().IsLoopback() {
		return fmt.Errorf("address %s is not a loopback address", ap) // don't send the token to another machine
	}
	return nil
}

// listen opens a unix socket, or loopback TCP if o asks for it, the path is too long, or unix sockets don't work here.
func listen(o Options) (net.Listener, error) {
	path := filepath.Join(o.Dir, o.ID+".sock")
	if o.Loopback || len(path) > maxPath {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		if err = os.Chmod(path, 0o600); err == nil {
			return l, nil
		}
		_ = l.Close() // err is the reason
	}
	o.Logger.Info("cannot create unix socket, listening on loopback TCP", "path", path, "error", err)
	return net.Listen("tcp", "127.0.0.1:0")
}
