package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/afgen/afgen/internal/devstack"
)

// A stack has the servers of a comparison.
type stack struct {
	site
	dir     string   // of the servers that this program has started
	ended   []func() // ends them
	missing []string // why servers are unavailable
}

// A demand is which servers some samples need.
type demand struct{ afgen, redisAOF, postgres bool }

// demandOf returns the demand of a plan.
func demandOf(plan [][]task) (d demand) {
	for _, t := range slices.Concat(plan...) {
		d.afgen = d.afgen || t.system == servers || t.system == bare
		d.redisAOF = d.redisAOF || t.system == asynq || t.system == asynq10
		d.postgres = d.postgres || t.system == river
	}
	return d
}

// bringUp starts the servers that are needed. A server that can't be started is missing; that is no error.
func bringUp(ctx context.Context, need demand, log io.Writer) (*stack, error) {
	dir, err := os.MkdirTemp("", "afgen-peers-")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir}
	up := func(name string, start func(context.Context) error) {
		fmt.Fprintf(log, "bringing up %s\n", name)
		if err := start(ctx); err != nil {
			s.missing = append(s.missing, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if need.afgen {
		up("MongoDB, RabbitMQ and Redis", s.devstack)
	}
	if need.redisAOF {
		up("Redis with an append-only file", s.startRedis)
	}
	if need.postgres {
		up("PostgreSQL", s.startPostgres)
	}
	return s, ctx.Err()
}

// close stops the servers that this program has started, and removes their files. Those of
// package devstack keep running.
func (s *stack) close() error {
	for _, end := range s.ended {
		end()
	}
	return os.RemoveAll(s.dir)
}

// has reports whether a system's servers are available.
func (s *stack) has(system string) bool {
	switch system {
	case servers, bare:
		return s.Mongo != ""
	case asynq, asynq10:
		return s.RedisAOF != ""
	case river:
		return s.Postgres != ""
	}
	return true
}

func (s *stack) devstack(context.Context) error {
	uris := map[devstack.Kind]string{}
	for _, k := range devstack.Kinds() {
		if uris[k] = os.Getenv(k.Variable()); uris[k] != "" {
			if k == devstack.RabbitMQ {
				s.AMQPAdmin = os.Getenv(k.Variable() + "_ADMIN")
			}
			continue
		}
		server, err := devstack.Up(k)
		if err != nil {
			return err
		}
		uris[k] = server.URI
		if k == devstack.RabbitMQ {
			s.AMQPAdmin = fmt.Sprintf("http://127.0.0.1:%d", server.AdminPort)
		}
	}
	s.Mongo, s.AMQP, s.Redis = uris[devstack.MongoDB], uris[devstack.RabbitMQ], uris[devstack.RedisKV]
	return nil
}

// startRedis starts a Redis that syncs its append-only file every second.
func (s *stack) startRedis(ctx context.Context) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w; Debian has it in redis-server", err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "redis")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: net.JoinHostPort("127.0.0.1", port)})
	defer client.Close() // only used for the probe
	uri := "redis://127.0.0.1:" + port + "/0"
	err = s.start(ctx, exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
		"--appendfsync", "everysec", "--dir", dir), dir, func(ctx context.Context) error { return client.Ping(ctx).Err() })
	if err == nil {
		s.RedisAOF = uri
	}
	return err
}

// postgresAccount is the account that runs PostgreSQL if this program runs as root, which PostgreSQL refuses.
const postgresAccount = "postgres"

// startPostgres creates a cluster with default settings and starts it.
func (s *stack) startPostgres(ctx context.Context) error {
	initdb, initErr := findPostgres("initdb")
	program, err := findPostgres("postgres")
	if err := errors.Join(initErr, err); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "postgres")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	as, err := s.accountForPostgres(dir)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	create := exec.CommandContext(ctx, initdb, "--pgdata", data, "--username", "peers", "--auth", "trust", "--encoding",
		"UTF8", "--locale", "C")
	create.SysProcAttr, create.Dir = &syscall.SysProcAttr{Credential: as}, dir
	if out, err := create.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	cmd := exec.Command(program, "-D", data, "-p", port, "-h", "127.0.0.1", "-k", "", "-c", "max_connections=200")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	uri := "postgres://peers@127.0.0.1:" + port + "/postgres?sslmode=disable"
	err = s.start(ctx, cmd, dir, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, uri)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	if err == nil {
		s.Postgres = uri
	}
	return err
}

// findPostgres finds a program of PostgreSQL in PATH or where Debian installs it.
func findPostgres(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is valid
	if len(found) == 0 {
		return "", fmt.Errorf("%s is not installed; Debian has it in postgresql", name)
	}
	return found[len(found)-1], nil
}

// accountForPostgres gives dir to the account that runs PostgreSQL, if that is not this process's own.
func (s *stack) accountForPostgres(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup(postgresAccount)
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid), os.Chmod(s.dir, 0o711))
}

// patience is how long a server may take to start or to stop.
const patience = 30 * time.Second

// start starts a server and waits until ready returns nil.
func (s *stack) start(
	ctx context.Context, cmd *exec.Cmd, dir string, ready func(context.Context) error,
) error {
	log, err := os.Create(filepath.Join(s.dir, filepath.Base(dir)+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // an interrupt of the terminal is for this program, which ends the server
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it exits when it is stopped
	}()
	s.ended = append(s.ended, func() {
		_ = cmd.Process.Signal(os.Interrupt) // fails if it has exited; PostgreSQL: a fast shutdown
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-exited
		}
	})
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err = ready(ctx); err == nil {
			return nil
		}
		select {
		case <-exited:
			text, _ := os.ReadFile(log.Name()) // for the message only
			return fmt.Errorf("it exited: %s", lastLines(string(text), 5))
		case <-ctx.Done():
			return fmt.Errorf("it is not ready after %v: %w", patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort returns a loopback port without a listener.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
