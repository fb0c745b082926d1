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

// forward makes this checkout's servers, which listen on the loopback interface, known at another address of the machine, on
// the same ports, until it is told to end: hosts of another network namespace have no other way. It prints a line once it
// listens.
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
			_ = l.Close() // it ends its Accept
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

// pipe carries bytes both ways until either side ends, or ctx does.
func pipe(ctx context.Context, from net.Conn, host string) {
	defer from.Close()
	to, err := net.Dial("tcp", host)
	if err != nil {
		return // the caller sees its connection end
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })() // which ends both copies
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // whatever ends it ends the connection
			_, _ = from.Close(), to.Close()
			ended <- struct{}{}
		}()
	}
	<-ended
	<-ended
}
