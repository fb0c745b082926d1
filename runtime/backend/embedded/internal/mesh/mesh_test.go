package mesh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
)

// calls is a Calls port that serves on one Mesh and calls from another.
type calls struct{ server, client *Mesh }

func (c calls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	return c.client.Call(ctx, req)
}

func (c calls) Serve(_ context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	return c.server.Serve(e, h), nil
}

func TestCallsConform(t *testing.T) {
	for _, on := range []struct {
		name    string
		open    conform.Open
		options conform.Options
	}{
		{"one_mesh", func(t *testing.T) *backend.Ports { return oneMesh(t) }, conform.Options{}},
		{"unix_socket", func(t *testing.T) *backend.Ports { return twoMeshes(t, false) }, conform.Options{}},
		{"loopback", func(t *testing.T) *backend.Ports { return twoMeshes(t, true) }, conform.Options{}},
		{"one_mesh_virtual_time", func(t *testing.T) *backend.Ports {
			m := unstarted(t, Options{ID: "a"})
			return &backend.Ports{Calls: calls{m, m}}
		}, conform.Options{Around: bubble.Test, Virtual: true}},
		{"pipe_virtual_time", func(t *testing.T) *backend.Ports {
			a, b := unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b", Resolve: always("a")})
			connectPair(t, b, a)
			return &backend.Ports{Calls: calls{a, b}}
		}, conform.Options{Around: bubble.Test, Virtual: true}},
	} {
		t.Run(on.name, func(t *testing.T) { conform.Calls(t, on.open, on.options) })
	}
}

// oneMesh opens one Mesh that calls itself.
func oneMesh(t testing.TB) *backend.Ports {
	m := start(t, Options{ID: "a"})
	return &backend.Ports{Calls: calls{m, m}}
}

// twoMeshes opens two Meshes. The second one connects to the first when it calls.
func twoMeshes(t testing.TB, loopback bool) *backend.Ports {
	a := start(t, Options{ID: "a", Loopback: loopback})
	var b *Mesh
	b = start(t, Options{ID: "b", Loopback: loopback, Resolve: always("a"), Dial: func(ctx context.Context,
		_ string) error {
		return b.Connect(ctx, a.Address())
	}})
	return &backend.Ports{Calls: calls{a, b}}
}

func TestSocketMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes differ on Windows")
	}
	dir := tempDir(t)
	m := start(t, Options{ID: "a", Dir: dir})
	path := filepath.Join(dir, "a.sock")
	if a := m.Address(); a.Network != "unix" || a.Addr != path || a.ID != "a" {
		t.Fatalf("address %v", a)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket still exists after Close: %v", err)
	}
}

func TestFallbackToLoopback(t *testing.T) {
	for name, o := range map[string]Options{
		"asked_for":     {ID: "a", Loopback: true},
		"path_too_long": {ID: strings.Repeat("a", 120)},
		"no_directory":  {ID: "a", Dir: filepath.Join(os.TempDir(), "mesh-that-is-not-there")},
	} {
		t.Run(name, func(t *testing.T) {
			if a := start(t, o).Address(); a.Network != "tcp" || !strings.HasPrefix(a.Addr, "127.0.0.1:") {
				t.Errorf("address %v", a)
			}
		})
	}
}

func TestAddressHidesToken(t *testing.T) {
	a := start(t, Options{ID: "a"}).Address()
	if s := a.String() + a.LogValue().String(); strings.Contains(s, a.Token) || !strings.Contains(s, a.Addr) {
		t.Errorf("%q", s)
	}
}

func TestInvalidID(t *testing.T) {
	for _, id := range []string{"", "a/b", strings.Repeat("a", 256)} {
		if _, err := Listen(Options{ID: id, Dir: tempDir(t), Resolve: always()}); !errors.Is(err,
			backend.ErrInvalidArgument) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
