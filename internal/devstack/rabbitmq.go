package devstack

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Debian's directory of the actual scripts. Those in PATH switch to the user rabbitmq, which can't read our
// directories.
const rabbitMQScripts = "/usr/lib/rabbitmq/bin"

func (s *Server) prepareRabbitMQ() (err error) {
	if s.DistPort, err = freePort(); err != nil {
		return err
	}
	if s.AdminPort, err = freePort(); err != nil {
		return err
	}
	s.Node = fmt.Sprintf("af%d@localhost", s.Port)
	s.URI = fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", s.Port)
	for name, text := range map[string]string{
		"rabbitmq.conf": fmt.Sprintf(`listeners.tcp.1 = 127.0.0.1:%d
management.tcp.ip = 127.0.0.1
management.tcp.port = %d
management_agent.disable_metrics_collector = true
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 50MB
`, s.Port, s.AdminPort),
		// Virtual hosts are created over HTTP: each call of rabbitmqctl takes more than a second.
		"enabled_plugins": "[rabbitmq_management].\n",
		"env.conf":        "", // overrides the machine's
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) rabbitMQ() (*exec.Cmd, error) { return s.rabbitMQScript("rabbitmq-server") }

// rabbitMQScript returns the command of one of RabbitMQ's scripts, for the server's node.
func (s *Server) rabbitMQScript(name string, args ...string) (*exec.Cmd, error) {
	path, err := s.lookPath(name, rabbitMQScripts)
	if err != nil {
		return nil, err
	}
	cmd := s.exec(path, args...)
	cmd.Env = s.rabbitMQEnv(cmd.Environ())
	return cmd, nil
}

// rabbitMQEnv confines the node to its directory and to the loopback interface. HOME has the cookie that
// authenticates rabbitmqctl. Idle schedulers don't spin, because tests share few processors.
func (s *Server) rabbitMQEnv(environ []string) []string {
	in := func(name string) string { return filepath.Join(s.Dir, name) }
	return append(environ,
		"HOME="+s.Dir,
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME="+s.Node,
		"RABBITMQ_DIST_PORT="+strconv.Itoa(s.DistPort),
		"RABBITMQ_MNESIA_BASE="+in("mnesia"),
		"RABBITMQ_LOG_BASE="+in("logs"),
		"RABBITMQ_PID_FILE="+in("pid"),
		"RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"),
		"RABBITMQ_CONF_ENV_FILE="+in("env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+in("enabled_plugins"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none "+
			"+sbwtdio none",
	)
}

// Ctl runs rabbitmqctl on the node, such as "close_all_connections", "reason". It takes more than a second.
func (s *Server) Ctl(args ...string) error {
	_, err := s.Ask(args...)
	return err
}

// Ask is like Ctl for commands that print a result, such as "list_queues", "--quiet", "name", "messages". It returns
// the output.
func (s *Server) Ask(args ...string) (string, error) {
	cmd, err := s.rabbitMQScript("rabbitmqctl", append([]string{"--node", s.Node}, args...)...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// Admin sends a request to the HTTP API of the server, such as DELETE connections/NAME, and returns the body of the
// response.
func (s *Server) Admin(method, path string, body []byte) ([]byte, error) {
	return s.management().do(method, path, body)
}

func (s *Server) management() *management {
	return &management{fmt.Sprintf("http://127.0.0.1:%d", s.AdminPort), url.UserPassword("guest", "guest")}
}

// rabbitMQReady checks the AMQP listener, which starts after all plugins, such as the HTTP API.
func (s *Server) rabbitMQReady() error {
	for _, path := range []string{"vhosts/%2F", "health/checks/protocol-listener/amqp"} {
		if _, err := s.Admin("GET", path, nil); err != nil {
			return err
		}
	}
	return nil
}
