package runtime_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/latency"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These benchmarks call one generated-style method over the memory backend. net/rpc with its JSON codec over an
// in-memory pipe does the same work, for comparison.

type Echo struct{}

type (
	EchoArgs struct {
		S string `json:"s"`
	}
	EchoReply struct {
		Result string `json:"result"`
	}
)

var echoEcho = af.Method[EchoArgs, EchoReply]{Service: "echo", Name: "Echo", Timeout: 5 * time.Second}

// Echo is the same method for net/rpc.
func (Echo) Echo(args EchoArgs, reply *EchoReply) error {
	reply.Result = args.S
	return nil
}

func serveEcho(b *testing.B) af.Client {
	b.Helper()
	app := apptest.Start(b, memory.New(), func(app *af.App) {
		af.RegisterService(app, af.Service{Name: "echo", Type: "Echo", Concurrency: 1024}, &Echo{},
			af.Bind(&echoEcho, func(_ context.Context, _ *Echo, a EchoArgs) (EchoReply, error) { return EchoReply{a.S}, nil }))
	}, af.MaxInFlight(1024, 64<<20))
	return af.NewClient(app)
}

func dialRPC(b *testing.B) *rpc.Client {
	b.Helper()
	server := rpc.NewServer()
	if err := server.Register(Echo{}); err != nil {
		b.Fatal(err)
	}
	here, there := net.Pipe()
	go server.ServeCodec(jsonrpc.NewServerCodec(there))
	client := jsonrpc.NewClient(here)
	b.Cleanup(func() {
		if err := client.Close(); err != nil && err != io.ErrClosedPipe {
			b.Error(err)
		}
	})
	return client
}

func BenchmarkCall(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"10B", 10}, {"10kB", 10_000}} {
		payload := strings.Repeat("x", size.n)
		b.Run("afgen/"+size.name, func(b *testing.B) {
			client := serveEcho(b)
			measure(b, func() error {
				r, err := echoEcho.Call(b.Context(), client, EchoArgs{payload})
				if err == nil && len(r.Result) != size.n {
					b.Error("wrong reply")
				}
				return err
			})
		})
		b.Run("net-rpc-json/"+size.name, func(b *testing.B) {
			client := dialRPC(b)
			measure(b, func() error {
				var r EchoReply
				return client.Call("Echo.Echo", EchoArgs{payload}, &r)
			})
		})
		// The cost of encoding: arguments and results are each encoded and decoded once.
		b.Run("json-only/"+size.name, func(b *testing.B) {
			measure(b, func() error {
				body, err := json.Marshal(EchoArgs{payload})
				if err != nil {
					return err
				}
				var a EchoArgs
				if err := json.Unmarshal(body, &a); err != nil {
					return err
				}
				if body, err = json.Marshal(EchoReply{a.S}); err != nil {
					return err
				}
				var r EchoReply
				return json.Unmarshal(body, &r)
			})
		})
	}
}

// measure runs call with 1, 64 and 256 callers. With one caller it also reports the latency.
func measure(b *testing.B, call func() error) {
	b.Run("callers=1", func(b *testing.B) {
		b.ReportAllocs()
		took := make([]time.Duration, 0, b.N)
		for b.Loop() {
			begun := time.Now()
			if err := call(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(begun))
		}
		latency.Report(b, took)
	})
	for _, callers := range []int{64, 256} {
		b.Run("callers="+map[int]string{64: "64", 256: "256"}[callers], func(b *testing.B) {
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan error, callers)
			for range callers {
				go func() {
					var err error
					for err == nil && left.Add(-1) >= 0 {
						err = call()
					}
					done <- err
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

func BenchmarkUnknownService(b *testing.B) {
	client := serveEcho(b)
	nobody := af.Method[EchoArgs, EchoReply]{Service: "nobody", Name: "Echo"}
	for b.Loop() {
		if _, err := nobody.Call(b.Context(), client, EchoArgs{}); err == nil {
			b.Fatal("no error")
		}
	}
}
