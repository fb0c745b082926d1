package devstack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// patience is how long a server may take to start, or to stop.
const patience = 60 * time.Second

// A Server is one that this package has started. Its fields are kept in the state file.
type Server struct {
	Kind Kind
	Dir  string // all that it has
	URI  string
	Port int
	Pid  int // of its process group, too; 0 when it doesn't run

	Project string `json:",omitempty"` // of docker compose, where it is a container

	// Args are more arguments for a server that Configure returned; a container takes none.
	Args []string `json:"-"`

	// RabbitMQ's.
	Node      string `json:",omitempty"`
	DistPort  int    `json:",omitempty"`
	AdminPort int    `json:",omitempty"`
}

// prepare chooses ports and writes configuration files, of a container or of what is installed. It is called once a server.
func (s *Server) prepare(contained bool) (err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if s.Port, err = freePort(); err != nil {
		return err
	}
	if contained {
		if err := s.prepareContainer(); err != nil {
			return err
		}
	}
	switch s.Kind {
	case RabbitMQ:
		return s.prepareRabbitMQ()
	case RedisKV:
		s.URI = fmt.Sprintf("redis://127.0.0.1:%d/0", s.Port)
	case MongoDB:
		s.URI = fmt.Sprintf("mongodb://127.0.0.1:%d/", s.Port)
	}
	return nil
}

func (s *Server) command() (*exec.Cmd, error) {
	switch s.Kind {
	case RabbitMQ:
		return s.rabbitMQ()
	case RedisKV:
		path, err := exec.LookPath("redis-server")
		if err != nil {
			return nil, errors.New("redis-server is not installed (Debian: apt-get install redis-server)")
		}
		return exec.Command(path, "--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.Dir), nil
	case MongoDB:
		return s.mongoDB()
	}
	return nil, fmt.Errorf("unknown kind of server %q", s.Kind)
}

// ready says whether the server does what it is asked.
func (s *Server) ready() error {
	switch s.Kind {
	case RabbitMQ:
		return s.rabbitMQReady()
	case RedisKV:
		return s.redisReady()
	}
	return pingMongo(s.URI)
}

// Start starts the server, or starts it again with what it had, on the same port, and returns when it is ready.
func (s *Server) Start() error {
	if s.Project != "" {
		return s.startContainer()
	}
	cmd, err := s.command()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Args = append(cmd.Args, s.Args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, s.Dir
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.Pid = cmd.Process.Pid
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // it ends when it is stopped, or killed
	}()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err = s.ready(); err == nil {
			return nil
		}
		select {
		case <-gone:
			return fmt.Errorf("it ended at once: %s", s.lastWords())
		default:
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("not ready after %v: %w: %s", patience, err, s.lastWords()), s.Kill())
		}
	}
}

// Stop asks the server to end and waits until it has; one that doesn't is killed.
func (s *Server) Stop() error {
	if !s.running() {
		return nil
	}
	if s.Project != "" {
		_, err := s.compose("stop", "--timeout", "60")
		return err
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

// Kill ends the server at once, and all its processes, as a power failure would, except that the disk keeps what was
// written.
func (s *Server) Kill() error {
	if !s.running() {
		return nil
	}
	if s.Project != "" {
		_, err := s.compose("kill")
		return err
	}
	if err := signalGroup(s.Pid, true); err != nil {
		return err
	}
	for end := time.Now().Add(patience); s.running(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d of %s does not end", s.Pid, s.Kind)
		}
	}
	return nil
}

// running says whether any process of the server is left.
func (s *Server) running() bool {
	if s.Project != "" {
		return s.containerRuns()
	}
	return s.Pid != 0 && groupAlive(s.Pid)
}

func (s *Server) log() string { return filepath.Join(s.Dir, "log") }

// lastWords is the end of what the server has written, for an error.
func (s *Server) lastWords() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// freePort returns a loopback port that nobody listens on. Another process may take it before it is used: whoever asks
// starts again with another.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// redisReady sends a PING.
func (s *Server) redisReady() error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	reply := make([]byte, 7)
	if _, err := c.Read(reply); err != nil || string(reply[:5]) != "+PONG" {
		return fmt.Errorf("no PONG: %q, %v", reply, err)
	}
	return nil
}
