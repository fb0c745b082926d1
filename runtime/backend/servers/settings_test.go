package servers

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/config"
)

// otherBackends are the keys that only the embedded backend uses.
var otherBackends = map[string]bool{"embedded.path": true, "embedded.durability": true}

// changed are values that differ from the defaults, by the last part of a key or by the whole key.
var changed = map[string]string{
	"mongodb.uri": "mongodb://other/x", "redis.uri": "redis://other/3", "rabbitmq.uri": "amqp://other/v",
	"host": "other", "port": "1234", "mongodb.db": "other", "redis.db": "7", "username": "ann", "password": "secret",
	"max_pool": "7", "pool_size": "7", "connect_timeout": "7s", "dial_timeout": "7s", "heartbeat": "7s", "vhost": "other",
	"quorum": "true", "enabled": "true", "ca_file": "missing.pem", "server_name": "other", "start_degraded": "true",
	"cert_file": "missing.pem", "key_file": "missing.key",
	"logger.path": "other", "level": "debug", "console": "false",
	"format": "json", "tasks.retention.age": "7s", "tasks.retention.max": "7",
	"workers.QUEUE.max": "7", "retries": "7", "timeout": "7s", "backoff": "7s", "backoff_max": "7s",
	"tasks.lease": "7s", "tasks.wrong_version_after": "7s", "tasks.ip": "192.0.2.7",
}

// dashboardKeys are the keys that package dashboard uses, which tests them.
const dashboardKeys = "dashboard."

// with are keys without which another one, by its last part, is refused or has no effect.
var with = map[string][]string{
	"ca_file": {"enabled"}, "server_name": {"enabled"}, "cert_file": {"enabled", "key_file"},
	"key_file": {"enabled", "cert_file"}, "password": {"username"},
}

// Each key of the file changes what a program gets that passes only From to af.Open, except those of another backend
// and of the dashboard.
func TestEachKeyTakesEffect(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, key := range config.Keys() {
		if key.Type == "mapping" || otherBackends[key.Name] || strings.HasPrefix(key.Name, dashboardKeys) {
			continue
		}
		t.Run(key.Name, func(t *testing.T) {
			section, last := key.Name[:strings.LastIndex(key.Name, ".")+1], key.Name[strings.LastIndex(key.Name, ".")+1:]
			base := map[string]string{"mongodb.db": "test", "redis.pool_size": "5", "rabbitmq.connect_timeout": "5s"}
			for _, other := range with[last] {
				base[section+other] = valueOf(t, section+other)
			}
			value := map[string]string{key.Name: valueOf(t, key.Name)}
			for k, v := range base {
				if k != key.Name {
					value[k] = v
				}
			}
			if pair := map[string]string{"cert_file": "key_file", "key_file": "cert_file"}[last]; pair != "" {
				delete(base, section+pair) // one without the other is refused
			}
			if before, after := effect(t, base), effect(t, value); before == after {
				t.Errorf("it has no effect: %s", after)
			}
		})
	}
}

func valueOf(t *testing.T, key string) string {
	t.Helper()
	for _, name := range []string{key, key[strings.LastIndex(key, ".")+1:]} {
		if v, ok := changed[name]; ok {
			return v
		}
	}
	t.Fatalf("this test has no value for %s", key)
	return ""
}

// effect describes everything that the servers and the App are opened with.
func effect(t *testing.T, values map[string]string) string {
	t.Helper()
	tree := map[string]any{}
	for key, value := range values {
		at, parts := tree, strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			at = at[p].(map[string]any)
		}
		at[parts[len(parts)-1]] = value
	}
	text, err := json.Marshal(tree) // also YAML
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("config.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := From(cfg)
	var all strings.Builder
	m, err := b.mongoConfig(backend.Env{})
	fmt.Fprintln(&all, m.URI, serverName(&m.TLS), err)
	fmt.Fprintf(&all, "%+v\n", m)
	r, err := b.redisConfig(backend.Env{})
	fmt.Fprintln(&all, r.Password, serverName(&r.TLS), err)
	fmt.Fprintf(&all, "%+v\n", r)
	a, err := b.rabbitConfig(backend.Env{})
	fmt.Fprintln(&all, a.Password, serverName(&a.TLS), err)
	fmt.Fprintf(&all, "%+v\n", a)
	s := b.Settings()
	console := "a text line"
	switch text := captured(t, func() {
		h, closeLog, err := s.OpenLog()
		if err != nil {
			t.Fatal(err)
		}
		slog.New(h).Error("a record")
		fmt.Fprint(&all, h.Enabled(context.Background(), slog.LevelDebug))
		if err := closeLog(); err != nil {
			t.Error(err)
		}
	}); {
	case text == "":
		console = "nothing"
	case json.Valid([]byte(text)):
		console = "JSON"
	}
	files, err := filepath.Glob("*/*.log")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Error(err)
		}
	}
	workers, err := json.Marshal(s.Workers)
	if err != nil {
		t.Fatal(err)
	}
	s.OpenLog, s.Workers = nil, nil
	fmt.Fprintf(&all, "%+v %s %v %s", s, workers, files, console)
	return all.String()
}

// captured returns what fn writes to standard error.
func captured(t *testing.T, fn func()) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer func(was *os.File) { os.Stderr = was }(os.Stderr)
	os.Stderr = f
	fn()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// serverName describes a TLS configuration, and removes it, since its address says nothing.
func serverName(c **tls.Config) string {
	if *c == nil {
		return ""
	}
	name := "TLS to " + (*c).ServerName
	*c = nil
	return name
}
