package devstack

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

//go:embed compose.yaml
var composeFile []byte

// pullTime is how long Docker may take, which may have to fetch an image.
const pullTime = 5 * time.Minute

// hasDocker says whether an engine with compose runs here. It is asked once a process.
var hasDocker = sync.OnceValue(func() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "info").Run() == nil &&
		exec.CommandContext(ctx, "docker", "compose", "version").Run() == nil
})

// prepareContainer makes the server a compose project of its own.
func (s *Server) prepareContainer() error {
	s.Project = fmt.Sprintf("afgen-%s-%x", s.Kind, sha256.Sum256([]byte(s.Dir)))[:40]
	return os.WriteFile(s.composePath(), composeFile, 0o600)
}

func (s *Server) composePath() string { return filepath.Join(s.Dir, "compose.yaml") }

// compose runs a command of docker compose on the project and returns what it prints.
func (s *Server) compose(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{"compose", "--project-name", s.Project, "--file", s.composePath()}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("AF_STACK_PORT=%d", s.Port), fmt.Sprintf("AF_STACK_ADMIN_PORT=%d", s.AdminPort))
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker compose %s: %w: %s", args[0], err, problems.String())
	}
	return out.String(), nil
}

// startContainer starts the container, or starts it again with what it had, and returns when the server is ready.
func (s *Server) startContainer() error {
	if _, err := s.compose("up", "--detach", "--no-recreate", string(s.Kind)); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := s.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			logs, _ := s.compose("logs", "--tail", "20")
			return fmt.Errorf("not ready after %v: %w: %s", patience, err, logs)
		}
	}
}

// containerRuns says whether the container runs. An engine that doesn't answer runs nothing.
func (s *Server) containerRuns() bool {
	out, err := s.compose("ps", "--quiet", "--status", "running")
	return err == nil && strings.TrimSpace(out) != ""
}
