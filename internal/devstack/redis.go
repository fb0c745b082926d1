package devstack

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"time"
)

func (s *Server) prepareRedis() error {
	s.URI = fmt.Sprintf("redis://127.0.0.1:%d/0", s.Port)
	return nil
}

func (s *Server) redis() (*exec.Cmd, error) {
	path, err := s.lookPath("redis-server", "/usr/bin")
	if err != nil {
		return nil, err
	}
	return s.exec(path, "--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.Dir), nil
}

// redisReady sends a PING.
func (s *Server) redisReady() error {
	c, err := net.DialTimeout("tcp", s.address(), time.Second)
	if err != nil {
		return err
	}
	defer c.Close() // all was sent
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
