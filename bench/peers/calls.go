package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A call makes one call. It is safe for concurrent use.
type call func(ctx context.Context) error

// A stop ends a server or a client.
type stop func(ctx context.Context) error

// A transport is a system that makes calls. The server returns the payload.
type transport interface {
	serve(ctx context.Context, s site) (stop, error)
	dial(ctx context.Context, s site) (call, stop, error)
}

// transports are the systems that make calls.
var transports = map[string]transport{
	embedded: afgenTransport{embedded}, servers: afgenTransport{servers},
	bare: bareAMQP{}, netRPC: netRPCTransport{}, gRPC: grpcTransport{},
}

// checkEcho returns an error unless the reply is the payload.
func checkEcho(reply payload, err error) error {
	if err == nil && reply != message {
		err = fmt.Errorf("the reply is %q", reply.Text)
	}
	return err
}

// calling returns a scenario with concurrent calls: calls per second, and the median of their latencies. The server is
// in the same process as the callers, or with remote in another one.
func calling(callers int, remote bool) scenario {
	return func(ctx context.Context, w *world) (r result, err error) {
		t := transports[w.system]
		if t == nil {
			return nil, fmt.Errorf("%s makes no calls", w.system)
		}
		serveHere := t.serve
		if remote {
			serveHere = func(ctx context.Context, s site) (stop, error) { return startServer(ctx, s, "calls "+w.system) }
		}
		stopServer, err := serveHere(ctx, w.site)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stopServer(context.WithoutCancel(ctx))) }()
		do, stopClient, err := t.dial(ctx, w.site)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stopClient(context.WithoutCancel(ctx))) }()
		return measureCalls(ctx, w, callers, do)
	}
}

func measureCalls(ctx context.Context, w *world, callers int, do call) (result, error) {
	if err := parallel(callers, 10*callers, func() error { return do(ctx) }); err != nil { // warms up
		return nil, err
	}
	var mu sync.Mutex
	var all []float64
	begun := time.Now()
	err := each(callers, func() error {
		var took []float64
		for at := begun; at.Sub(begun) < w.period(); {
			if err := do(ctx); err != nil {
				return err
			}
			end := time.Now()
			took = append(took, micros(end.Sub(at)))
			at = end
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return result{"rate": float64(len(all)) / time.Since(begun).Seconds(), "p50": median(all)}, nil
}

// A server is another process of this program.
type server struct {
	*exec.Cmd
	in  io.Closer // its standard input; closing it ends the process
	out *bufio.Scanner
}

// ready is the line that a server writes when it is started.
const ready = "ready"

// startProcess starts a process with a role, and waits until it is ready. It is killed when ctx ends.
func startProcess(ctx context.Context, s site, role string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve", role)
	cmd.Stderr = os.Stderr
	if cmd.Env, err = s.environment(); err != nil {
		return nil, err
	}
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &server{cmd, in, bufio.NewScanner(out)}
	if !p.out.Scan() || p.out.Text() != ready {
		return nil, errors.Join(fmt.Errorf("the process for %q did not start", role), p.kill())
	}
	return p, nil
}

// kill kills the process.
func (p *server) kill() error {
	err := p.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = p.Wait() // reports that it was killed
	return err
}

// startServer starts a process, and returns a function that ends it.
func startServer(ctx context.Context, s site, role string) (stop, error) {
	p, err := startProcess(ctx, s, role)
	if err != nil {
		return nil, err
	}
	return func(context.Context) error { return errors.Join(p.in.Close(), p.Wait()) }, nil
}

// serve is such a process. It ends when in is closed.
func serve(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	s, err := siteFromEnvironment()
	if err != nil {
		return err
	}
	var end stop
	if system, ok := strings.CutPrefix(role, "calls "); ok && transports[system] != nil {
		end, err = transports[system].serve(ctx, s)
	} else if role == workerRole {
		end, err = serveWorker(ctx, s, out)
	} else {
		err = fmt.Errorf("-serve: there is no role %q", role)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, ready)
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, end(context.WithoutCancel(ctx)))
}
