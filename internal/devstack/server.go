package devstack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// patience is how long a server may take to start or stop.
const patience = 60 * time.Second

// A Server is a process started by this package. The state file contains its exported fields, except those that only
// a test's own server has.
type Server struct {
	Kind Kind
	Dir  string // all files of the server
	URI  string
	Port int
	Pid  int // also its process group; 0 before the first start

	// Root is the root directory of the Linux system in which the program is installed, or "" for this one.
	Root string `json:",omitempty"`

	// Args are added to the command. TLS is devstack's own configuration for a MongoDB that requires TLS.
	Args []string    `json:"-"`
	TLS  *tls.Config `json:"-"`

	// MongoDB's.
	Topology string  `json:",omitempty"`
	CacheGB  float64 `json:",omitempty"` // of MongoDB; 0 means 0.25

	// RabbitMQ's.
	Node      string `json:",omitempty"`
	DistPort  int    `json:",omitempty"`
	AdminPort int    `json:",omitempty"`
}

// Topologies of a MongoDB server.
const (
	topologySet        = "replicaset" // of one member
	topologyStandalone = "standalone"
	topologyMember     = "member" // of a replica set of several
)

// newServer returns a server with its files in dir and the options of the environment.
func newServer(k Kind, dir string) *Server {
	if k == MongoDB {
		return &Server{Kind: k, Dir: dir, Topology: topology()}
	}
	return &Server{Kind: k, Dir: dir, Root: root()}
}

// prepare chooses ports and writes configuration files. It is called once per server.
func (s *Server) prepare() (err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if s.Port, err = freePort(); err != nil {
		return err
	}
	switch s.Kind {
	case RabbitMQ:
		return s.prepareRabbitMQ()
	case RedisKV:
		return s.prepareRedis()
	case MongoDB:
		return s.prepareMongoDB()
	}
	return fmt.Errorf("unknown kind of server %q", s.Kind)
}

func (s *Server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

func (s *Server) command() (*exec.Cmd, error) {
	switch s.Kind {
	case RabbitMQ:
		return s.rabbitMQ()
	case RedisKV:
		return s.redis()
	case MongoDB:
		return s.mongoDB()
	}
	return nil, fmt.Errorf("unknown kind of server %q", s.Kind)
}

// ready returns nil if the server serves requests, or else the reason.
func (s *Server) ready() error {
	switch s.Kind {
	case RabbitMQ:
		return s.rabbitMQReady()
	case RedisKV:
		return s.redisReady()
	}
	return s.mongoReady()
}

// Start starts the server, or restarts it with its files and port, and returns when it is ready.
func (s *Server) Start() error {
	cmd, err := s.command()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	cmd.Args = append(cmd.Args, s.Args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, s.Dir
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.Pid = cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it exits when it is stopped or killed
	}()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err = s.ready(); err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("%s exited at start: %s", s.Kind, s.logTail())
		default:
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("%s is not ready after %v: %w: %s", s.Kind, patience, err, s.logTail()), s.Kill())
		}
	}
}

// Stop terminates the server and waits for its exit. It kills a server that doesn't exit in time.
func (s *Server) Stop() error {
	if !s.running() {
		return nil
	}
	if err := signalGroup(s.Pid, false); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !s.running() {
			return nil
		}
	}
	return s.Kill()
}

// Kill kills all processes of the server, like a power failure, except that the disk keeps what was written.
func (s *Server) Kill() error {
	if !s.running() {
		return nil
	}
	if err := signalGroup(s.Pid, true); err != nil {
		return err
	}
	for end := time.Now().Add(patience); s.running(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d of %s does not exit", s.Pid, s.Kind)
		}
	}
	return nil
}

// Freeze stops the processes of the server without ending them: connections stay open, and nothing answers.
func (s *Server) Freeze() error { return pauseGroup(s.Pid, true) }

// Thaw undoes Freeze.
func (s *Server) Thaw() error { return pauseGroup(s.Pid, false) }

// running reports whether any process of the server is running.
func (s *Server) running() bool { return s.Pid != 0 && groupAlive(s.Pid) }

func (s *Server) log() string { return filepath.Join(s.Dir, "log") }

// logTail returns the end of the server's log, for an error.
func (s *Server) logTail() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Ports are below the ephemeral ports of outgoing connections (from 32768 on Linux, 49152 elsewhere): a server that
// is down for a while and restarted must find its port free.
const (
	firstPort = 15000
	lastPort  = 32000
)

// freePort returns a loopback port without a listener. Another process may take it before it is used, so callers
// retry with another one.
func freePort() (int, error) {
	var failed error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		failed = err
	}
	return 0, fmt.Errorf("no free port from %d to %d: %w", firstPort, lastPort, failed)
}
