package embedded_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/latency"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// Adder is a service of afgen, written without the generator, and of net/rpc.
type Adder struct{}

// AddArgs are its arguments.
type AddArgs struct{ X, Y int }

type addReply struct{ Sum int }

// Add has the signature that net/rpc requires.
func (Adder) Add(a AddArgs, sum *int) error {
	*sum = a.X + a.Y
	return nil
}

var addMethod = af.Method[AddArgs, addReply]{Service: "adder", Name: "Add", Timeout: 5 * time.Second}

func init() { children["adder"] = serveAdder }

// serveAdder serves both on unix sockets until its standard input ends.
func serveAdder() int {
	ctx := context.Background()
	path := os.Getenv("AF_TEST_FILE")
	app, err := af.Open(ctx, embedded.File(path), af.Logger(slog.New(slog.DiscardHandler)))
	if err == nil {
		af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 256}, &Adder{},
			af.Bind(&addMethod, func(_ context.Context, _ *Adder, a AddArgs) (addReply, error) {
				return addReply{a.X + a.Y},
					nil
			}))
		err = app.Start(ctx)
	}
	if err == nil {
		err = rpc.Register(Adder{})
	}
	var l net.Listener
	if err == nil {
		l, err = net.Listen("unix", filepath.Join(filepath.Dir(path), "rpc"))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go rpc.Accept(l)
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := app.Shutdown(ctx); err != nil {
		return 1
	}
	return 0
}

// BenchmarkCallAcrossProcesses measures one call at a time to another process, through the whole runtime, compared with
// net/rpc between the same processes over the same kind of socket.
func BenchmarkCallAcrossProcesses(b *testing.B) {
	dir, err := os.MkdirTemp("", "af") // short enough for a socket
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "af.db")
	child := testkit.Start(b, "adder", "AF_TEST_FILE="+path)
	defer child.End(b)
	child.Says(b, "ready")
	app := apptest.Start(b, embedded.File(path), nil, af.Retention(0, 0))
	client := af.NewClient(app)
	b.Run("afgen", func(b *testing.B) {
		eachCall(b, func(i int) (int, error) {
			r, err := addMethod.Call(b.Context(), client, AddArgs{i, 1})
			return r.Sum, err
		})
	})
	other, err := rpc.Dial("unix", filepath.Join(dir, "rpc"))
	if err != nil {
		b.Fatal(err)
	}
	defer other.Close()
	b.Run("net-rpc", func(b *testing.B) {
		eachCall(b, func(i int) (sum int, err error) {
			err = other.Call("Adder.Add", AddArgs{i, 1}, &sum)
			return sum, err
		})
	})
}

// eachCall makes calls one after the other and reports their latency.
func eachCall(b *testing.B, call func(i int) (int, error)) {
	var took []time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if sum, err := call(i); err != nil || sum != i+1 {
			b.Fatalf("%d, %v", sum, err)
		}
		took = append(took, time.Since(start))
	}
	latency.Report(b, took)
}
