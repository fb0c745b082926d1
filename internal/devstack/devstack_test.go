package devstack_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
)

func TestSharedServers(t *testing.T) {
	for _, k := range devstack.Kinds() {
		if os.Getenv(k.Variable()) != "" {
			continue
		}
		first, err := devstack.Up(k)
		if err != nil {
			t.Skipf("NOT TESTED: no %s: %v", k, err)
		}
		devstack.Forget()
		second, err := devstack.Up(k)
		if err != nil {
			t.Fatal(err)
		}
		if first.URI != second.URI || first.Pid != second.Pid {
			t.Errorf("%s and %s", first.URI, second.URI)
		}
	}
}

// Who installs a missing server and tries again is not told that it is missing.
func TestInstalledServerIsFound(t *testing.T) {
	root := t.TempDir()
	t.Setenv("AF_TEST_ROOT", root)
	const missing = "is not installed"
	if _, err := devstack.Up(devstack.RedisKV); err == nil || !strings.Contains(err.Error(), missing) {
		t.Fatalf("without the program: %v", err)
	}
	bin := filepath.Join(root, "usr", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "redis-server"), nil, 0o755); err != nil { // it does not start
		t.Fatal(err)
	}
	if _, err := devstack.Up(devstack.RedisKV); err == nil || strings.Contains(err.Error(), missing) {
		t.Errorf("with the program: %v", err)
	}
}

func TestNamesAreUnique(t *testing.T) {
	if a, b := devstack.Name(t), devstack.Name(t); a == b {
		t.Errorf("%s twice", a)
	}
	if a, b := devstack.Mongo(t), devstack.Mongo(t); a == b {
		t.Errorf("%s twice", a)
	}
	if os.Getenv(devstack.RabbitMQ.Variable()) == "" {
		if a, b := devstack.AMQP(t), devstack.AMQP(t); a == b {
			t.Errorf("%s twice", a)
		}
	}
}

func TestOwnServerRestarts(t *testing.T) {
	for _, k := range devstack.Kinds() {
		t.Run(string(k), func(t *testing.T) {
			s := devstack.Start(t, k)
			for _, end := range []func() error{s.Kill, s.Stop} {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if err := s.Ready(); err == nil {
					t.Error("it answers after its end")
				}
				uri := s.URI
				if err := s.Start(); err != nil {
					t.Fatal(err)
				}
				if s.URI != uri {
					t.Errorf("%s became %s", uri, s.URI)
				}
			}
		})
	}
}

func TestWithDatabase(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://h:1":                        "mongodb://h:1/new",
		"mongodb://h:1/":                       "mongodb://h:1/new",
		"mongodb://h:1,i:2/old?w=1":            "mongodb://h:1,i:2/new?w=1",
		"mongodb://u:p@h:1/":                   "mongodb://u:p@h:1/new?authSource=admin",
		"mongodb://u:p@h:1/old?w=1":            "mongodb://u:p@h:1/new?w=1&authSource=old",
		"mongodb://u:p@h:1/old?authSource=the": "mongodb://u:p@h:1/new?authSource=the",
	} {
		if got := devstack.WithDatabase(uri, "new"); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}

// No outgoing connection takes the port of a stopped server.
func TestPortsAreNotEphemeral(t *testing.T) {
	for range 20 {
		if port, err := devstack.FreePort(); err != nil || port >= 32768 {
			t.Errorf("port %d, %v", port, err)
		}
	}
}
