package mesh

import (
	"encoding/json"
	"net"
	"net/rpc"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/latency"
	"github.com/afgen/afgen/runtime/backend"
)

// BenchmarkCall measures calls between two Meshes over a unix socket, compared with net/rpc over the same kind of
// socket. Both send the same body back and forth; net/rpc has no envelope, deadline or queue.

var benchBody = json.RawMessage(`{"url":"https://example.com/picture.png","width":640,"height":480}`)

type Echo struct{}

// Echo has the signature that net/rpc requires.
func (Echo) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 64} {
		name := map[int]string{1: "callers=1", 64: "callers=64"}[callers]
		b.Run("mesh/"+name, func(b *testing.B) {
			p := twoMeshes(b, false)
			if _, err := p.Calls.Serve(b.Context(), backend.Endpoint{Service: "s", Concurrency: 256}, echo); err != nil {
				b.Fatal(err)
			}
			latency.Calls(b, callers, func() error {
				_, err := p.Calls.Call(b.Context(), &backend.Request{
					Service: "s", Method: "M", ID: "a-1", Caller: "b", Timeout: 5 * time.Second, Body: benchBody,
				})
				return err
			})
		})
		b.Run("net-rpc/"+name, func(b *testing.B) {
			client := dialRPC(b)
			latency.Calls(b, callers, func() error {
				var out []byte
				return client.Call("Echo.Echo", []byte(benchBody), &out)
			})
		})
	}
}

func dialRPC(b *testing.B) *rpc.Client {
	b.Helper()
	server := rpc.NewServer()
	if err := server.Register(Echo{}); err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(tempDir(b), "rpc.sock"))
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if conn, err := l.Accept(); err == nil {
			server.ServeConn(conn)
		}
	})
	client, err := rpc.Dial("unix", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = client.Close()
		_ = l.Close()
		wg.Wait()
	})
	return client
}
