package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/signal"
	"sync"
	"syscall"

	"github.com/afgen/afgen/internal/devstack"
)

// forward forwards this checkout's servers, which listen on the loopback interface, from another address of the
// machine, on the same ports, until it is terminated. Hosts in other network namespaces can't reach them otherwise.
// It prints a line once it listens.
func forward(address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	servers, err := devstack.Keep()
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close() // it ends Accept
		}
	}()
	for _, s := range servers {
		u, err := url.Parse(s.URI)
		if err != nil {
			return errors.New("the URI of " + string(s.Kind) + " is not one")
		}
		l, err := net.Listen("tcp", net.JoinHostPort(address, u.Port()))
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		all.Go(func() {
			for {
				from, err := l.Accept()
				if err != nil {
					return // closed
				}
				all.Go(func() { pipe(ctx, from, u.Host) })
			}
		})
	}
	fmt.Println("forwarding")
	<-ctx.Done()
	return nil
}

// pipe copies bytes in both directions until either side closes or ctx ends.
func pipe(ctx context.Context, from net.Conn, host string) {
	defer from.Close()
	to, err := net.Dial("tcp", host)
	if err != nil {
		return // the caller sees its connection end
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })() // ends both copies
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // any error ends the connection
			_, _ = from.Close(), to.Close()
			ended <- struct{}{}
		}()
	}
	<-ended
	<-ended
}
