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

// A call from one Mesh to another over a unix socket, beside net/rpc over a socket of the same kind in the same run. Both
// carry the same body there and back; net/rpc has no envelope, no deadline, no line.

var benchBody = json.RawMessage(`{"url":"https://example.com/picture.png","width":640,"height":480}`)

type Echo struct{}

// Echo has net/rpc's shape.
func (Echo) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 64} {
		name := map[int]string{1: "callers=1", 64: "callers=64"}[callers]
		b.Run("mesh/"+name, func(b *testing.B) {
			p := across(b, false)
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
	l, err := net.Listen("unix", filepath.Join(folder(b), "rpc.sock"))
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
