package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// socket returns the path of the socket on which net/rpc and gRPC serve. afgen's embedded backend uses a socket too.
func (s site) socket() string { return filepath.Join(s.Dir, "rpc.sock") }

// A netRPCTransport is package net/rpc with its default encoding, gob.
type netRPCTransport struct{}

// Echo is a service of net/rpc.
type Echo struct{}

// A Message is a payload: net/rpc accepts only exported types.
type Message payload

// Echo returns its arguments.
func (Echo) Echo(args *Message, reply *Message) error {
	*reply = *args
	return nil
}

func (netRPCTransport) serve(_ context.Context, s site) (stop, error) {
	server := rpc.NewServer()
	if err := server.RegisterName("Echo", Echo{}); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", s.socket())
	if err != nil {
		return nil, err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil { // closed
				return
			}
			go server.ServeConn(conn) // ends with the client
		}
	}()
	return func(context.Context) error {
		err := l.Close()
		<-served
		return err
	}, nil
}

func (netRPCTransport) dial(_ context.Context, s site) (call, stop, error) {
	client, err := rpc.Dial("unix", s.socket())
	if err != nil {
		return nil, nil, err
	}
	return func(context.Context) error {
		args, reply := Message(message), Message{}
		err := client.Call("Echo.Echo", &args, &reply)
		return checkEcho(payload(reply), err)
	}, func(context.Context) error { return client.Close() }, nil
}

// A grpcTransport is gRPC with JSON instead of generated messages.
type grpcTransport struct{}

// A jsonCodec encodes messages in JSON.
type jsonCodec struct{}

// Marshal implements the codec.
func (jsonCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal implements the codec.
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Name implements the codec.
func (jsonCodec) Name() string { return "json" }

// grpcEcho describes the service.
var grpcEcho = grpc.ServiceDesc{
	ServiceName: "Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(
		_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
	) (any, error) {
		var args payload
		err := decode(&args)
		return &args, err
	}}},
}

func (grpcTransport) serve(_ context.Context, s site) (stop, error) {
	l, err := net.Listen("unix", s.socket())
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}))
	server.RegisterService(&grpcEcho, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	return func(context.Context) error {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("gRPC: %w", err)
		}
		return nil
	}, nil
}

func (grpcTransport) dial(_ context.Context, s site) (call, stop, error) {
	conn, err := grpc.NewClient("unix://"+s.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(jsonCodec{})))
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) error {
		var reply payload
		err := conn.Invoke(ctx, "/Echo/Echo", &message, &reply)
		return checkEcho(reply, err)
	}, func(context.Context) error { return conn.Close() }, nil
}
