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

// maxPath is the longest path of a unix socket that every system takes.
const maxPath = 100

// An Address says where a Mesh listens. It holds a secret: it must be kept where only the user's own processes read.
type Address struct {
	ID      string `json:"id"`      // of the instance
	Network string `json:"network"` // "unix" or "tcp"
	Addr    string `json:"addr"`
	Token   string `json:"token"`
}

// String leaves out the secret.
func (a Address) String() string { return a.ID + " at " + a.Network + " " + a.Addr }

// LogValue leaves out the secret.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.String()) }

// check returns why a can't be dialed.
func (a Address) check() error {
	switch {
	case a.ID == "" || len(a.Token) < 2:
		return errors.New("the address has no id or no token")
	case a.Network == "unix":
		return nil
	case a.Network != "tcp":
		return fmt.Errorf("network %q is neither unix nor tcp", a.Network)
	}
	ap, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return err
	}
	if !ap.Addr().IsLoopback() {
		return errors.New("not an address of this machine") // the token is not for others
	}
	return nil
}

// listen opens a unix socket, or loopback TCP where there are none, the path is too long, or o asks for it.
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
	o.Logger.Info("no unix socket; listening on loopback TCP instead", "path", path, "error", err)
	return net.Listen("tcp", "127.0.0.1:0")
}
