package config_test

import (
	"go/parser"
	"go/token"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/config"
)

// env returns an environment for Parse.
func env(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// parse parses a valid file.
func parse(t *testing.T, data string, vars map[string]string) config.Config {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte(data), env(vars))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return c
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	// Secrets print redacted, which would hide differences.
	plain := cmp.Transformer("Reveal", config.Secret.Reveal)
	if diff := cmp.Diff(want, got, plain); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// servers returns a minimal file with all three servers; body extends one section.
func servers(section, body string) string {
	var b strings.Builder
	for _, s := range []string{"mongodb", "redis", "rabbitmq"} {
		b.WriteString(s + ":\n")
		if s == section {
			b.WriteString(body)
		}
	}
	return b.String()
}

const day = 24 * time.Hour

func defaults() config.Config {
	return config.Config{
		Logger:   config.Logger{Path: "logs", Level: slog.LevelInfo, Console: true, Format: config.FormatText},
		Embedded: config.Embedded{Path: ".af/af.db", Durability: config.DurabilityNormal},
		Tasks: config.Tasks{Retention: config.Retention{Age: 7 * day, Max: 100000},
			Lease: 20 * time.Second, WrongVersionAfter: day},
	}
}

func TestDefaultIsEmptyFile(t *testing.T) {
	equal(t, config.Default(), defaults())
	for name, data := range map[string]string{
		"empty":          "",
		"blank":          "\n \n",
		"comments":       "# nothing\n\n# here\n",
		"byte_order":     "\ufeff",
		"document_start": "# c\n---\n",
		"null":           "~\n",
		"empty_mapping":  "{}",
		"empty_sections": "logger:\nembedded: ~\ntasks: {}\n",
		"deeper":         "tasks: {retention: }\n",
		"empty_texts":    "tasks: {ip: ''}\n",
	} {
		t.Run(name, func(t *testing.T) { equal(t, parse(t, data, nil), defaults()) })
	}
}

func TestEmptyServerSectionsHaveDefaults(t *testing.T) {
	want := defaults()
	want.MongoDB = &config.MongoDB{Host: "127.0.0.1", Port: 27017, DB: "afgen", MaxPool: 100,
		ConnectTimeout: 5 * time.Second}
	want.Redis = &config.Redis{Host: "127.0.0.1", Port: 6379, PoolSize: 20, DialTimeout: 5 * time.Second}
	want.RabbitMQ = &config.RabbitMQ{
		Host: "127.0.0.1", Port: 5672, VHost: "/", ConnectTimeout: 10 * time.Second, Heartbeat: 10 * time.Second,
	}
	equal(t, parse(t, "mongodb:\nredis: {}\nrabbitmq: null\n", nil), want)
}

func TestKeysSetTheirFields(t *testing.T) {
	tls := "  tls: {enabled: true, ca_file: ca, cert_file: c, key_file: k, server_name: s}\n"
	got := parse(t, `
mongodb:
  host: mongo.example.com
  port: 1
  db: tasks
  username: mu
  password: mp
  max_pool: 2
  connect_timeout: 3s
`+tls+`
redis:
  host: "::1"
  port: 4
  db: 5
  username: ru
  password: rp
  pool_size: 6
  dial_timeout: 7s
`+tls+`
rabbitmq:
  host: 10.0.0.1
  port: 8
  vhost: orders
  username: qu
  password: qp
  connect_timeout: 9s
  heartbeat: 11s
  quorum: true
`+tls+`
servers: {start_degraded: true}
logger: {path: /var/log/app, level: Warning, console: true, format: json}
embedded: {path: x.db, durability: full}
tasks:
  retention: {age: 12h, max: 13}
  lease: 14s
  wrong_version_after: 90m
  ip: ::ffff:10.1.2.3
dashboard: {listen: "[::1]:0", write: true, hosts: "Ops.example.com, [::2]"}
`, nil)
	want := config.Config{
		MongoDB: &config.MongoDB{
			Host: "mongo.example.com", Port: 1, DB: "tasks", Username: "mu", Password: "mp", MaxPool: 2,
			ConnectTimeout: 3 * time.Second,
		},
		Redis: &config.Redis{
			Host: "::1", Port: 4, DB: 5, Username: "ru", Password: "rp", PoolSize: 6, DialTimeout: 7 * time.Second,
		},
		RabbitMQ: &config.RabbitMQ{
			Host: "10.0.0.1", Port: 8, VHost: "orders", Username: "qu", Password: "qp",
			ConnectTimeout: 9 * time.Second, Heartbeat: 11 * time.Second, Quorum: true,
		},
		Servers:  config.Servers{StartDegraded: true},
		Logger:   config.Logger{Path: "/var/log/app", Level: slog.LevelWarn, Console: true, Format: config.FormatJSON},
		Embedded: config.Embedded{Path: "x.db", Durability: config.DurabilityFull},
		Tasks: config.Tasks{
			Retention: config.Retention{Age: 12 * time.Hour, Max: 13}, Lease: 14 * time.Second,
			WrongVersionAfter: 90 * time.Minute, IP: "10.1.2.3",
		},
		Dashboard: &config.Dashboard{Listen: "[::1]:0", Write: true, Hosts: []string{"ops.example.com", "::2"}},
	}
	for _, tls := range []*config.TLS{&want.MongoDB.TLS, &want.Redis.TLS, &want.RabbitMQ.TLS} {
		*tls = config.TLS{Enabled: true, CAFile: "ca", CertFile: "c", KeyFile: "k", ServerName: "s"}
	}
	equal(t, got, want)
}

// Without its section, there is no dashboard; an empty section has one with the defaults.
func TestEmptyDashboardSection(t *testing.T) {
	want := defaults()
	want.Dashboard = &config.Dashboard{Listen: "127.0.0.1:8090"}
	equal(t, parse(t, "dashboard:\n", nil), want)
	want.Dashboard.Listen = ":80"
	equal(t, parse(t, "dashboard: {listen: ':80', hosts: ' '}\n", nil), want)
}

func TestURIReplacesOtherKeys(t *testing.T) {
	got := parse(t, `
mongodb: {uri: "mongodb://u:p@a,b:1/tasks?maxPoolSize=7", connect_timeout: 2s}
redis: {uri: "rediss://:p@cache/3", tls: {ca_file: ca}}
rabbitmq: {uri: "amqps://broker/%2F", heartbeat: 3s}
`, nil)
	want := defaults()
	want.MongoDB = &config.MongoDB{URI: "mongodb://u:p@a,b:1/tasks?maxPoolSize=7", DB: "tasks",
		ConnectTimeout: 2 * time.Second}
	want.Redis = &config.Redis{URI: "rediss://:p@cache/3", TLS: config.TLS{Enabled: true, CAFile: "ca"}}
	want.RabbitMQ = &config.RabbitMQ{URI: "amqps://broker/%2F", TLS: config.TLS{Enabled: true}, Heartbeat: 3 * time.Second}
	equal(t, got, want)

	for name, test := range map[string]struct{ body, want string }{
		"key_wins":         {"  uri: mongodb://h/path\n  db: key\n", "key"},
		"neither":          {"  uri: mongodb://h/?a=b\n", "afgen"},
		"empty_uri":        {"  uri: ''\n  host: h\n", "afgen"},
		"escaped_path":     {"  uri: mongodb://h/p%C3%A4th\n", "päth"},
		"mongodb+srv_path": {"  uri: mongodb+srv://c.example.com/path\n", "path"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, servers("mongodb", test.body), nil).MongoDB.DB; got != test.want {
				t.Errorf("db is %q, want %q", got, test.want)
			}
		})
	}
}

func TestScalarsAreText(t *testing.T) {
	for _, test := range []struct{ yaml, want string }{
		{"1234", "1234"},
		{"0123", "0123"},
		{"1e3", "1e3"},
		{"1_000", "1_000"},
		{"true", "true"},
		{"2020-01-01", "2020-01-01"},
		{"'null'", "null"},
		{`""`, ""},
		{`"a\tb"`, "a\tb"},
		{"!!str 12", "12"},
		{"! x", "x"},
		{"$5", "$5"},
		{"|-\n    a: b", "a: b"},
	} {
		t.Run(test.yaml, func(t *testing.T) {
			c := parse(t, servers("redis", "  password: "+test.yaml+"\n  port: \"4\"\n"), nil)
			if got := c.Redis.Password.Reveal(); got != test.want {
				t.Errorf("password is %q, want %q", got, test.want)
			}
			if c.Redis.Port != 4 {
				t.Errorf("a quoted port is %d, want 4", c.Redis.Port)
			}
		})
	}
}

func TestLevelsIgnoreCase(t *testing.T) {
	for text, want := range map[string]slog.Level{
		"DEBUG": slog.LevelDebug, "Info": slog.LevelInfo, "warn": slog.LevelWarn, "WARNING": slog.LevelWarn,
		"error": slog.LevelError,
	} {
		if got := parse(t, "logger: {level: "+text+"}", nil).Logger.Level; got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

func TestTLSChangesRabbitMQDefaultPort(t *testing.T) {
	for body, want := range map[string]int{
		"":                                     5672,
		"  tls: {enabled: true}\n":             5671,
		"  tls: {enabled: false}\n":            5672,
		"  port: 5672\n  tls: {enabled: true}": 5672,
	} {
		if got := parse(t, servers("rabbitmq", body), nil).RabbitMQ.Port; got != want {
			t.Errorf("%q: port %d, want %d", body, got, want)
		}
	}
}

func TestAliasesReplaceWholeValues(t *testing.T) {
	c := parse(t, `
mongodb: {username: &user app, password: &pw p}
redis: {username: *user, password: *pw, tls: &tls {enabled: true, ca_file: ca}}
rabbitmq: {username: *user, password: *pw, tls: *tls}
`, nil)
	if c.RabbitMQ.Username != "app" || c.Redis.Password != "p" || c.RabbitMQ.TLS != c.Redis.TLS ||
		c.RabbitMQ.TLS.CAFile != "ca" {
		t.Errorf("aliases were not followed: %+v %+v", *c.Redis, *c.RabbitMQ)
	}
}

func TestEnvironmentVariables(t *testing.T) {
	vars := map[string]string{"A": "one", "EMPTY": "", "PORT": "7000", "YAML": "x\nhost: evil", "NESTED": "${A}",
		"YES": "true", "_a1": "low"}
	for _, test := range []struct{ text, want string }{
		{"${A}", "one"},
		{"<${A}${A}>", "<oneone>"},
		{"${_a1}", "low"},
		{"${EMPTY}", ""},
		{"${EMPTY:-two}", "two"},
		{"${A:-two}", "one"},
		{"${NOT_SET:-two}", "two"},
		{"${NOT_SET:-}", ""},
		{"${NOT_SET:-a:-b$}", "a:-b$"},
		{"$${A}", "${A}"},
		{"a$${${A}", "a${one"},
		{"$A $ {A}", "$A $ {A}"},
		{"${NESTED}", "${A}"},
		{"${YAML}", "x\nhost: evil"},
	} {
		t.Run(test.text, func(t *testing.T) {
			c := parse(t, servers("redis", "  password: '"+test.text+"'\n"), vars)
			if got := c.Redis.Password.Reveal(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if c.Redis.Host != "127.0.0.1" {
				t.Errorf("a variable changed the host to %q", c.Redis.Host)
			}
		})
	}
	t.Run("typed", func(t *testing.T) {
		c := parse(t, servers("redis", "  port: ${PORT}\n  dial_timeout: ${N:-3}s\n  tls: {enabled: '${YES}'}\n"), vars)
		if c.Redis.Port != 7000 || c.Redis.DialTimeout != 3*time.Second || !c.Redis.TLS.Enabled {
			t.Errorf("got %+v", *c.Redis)
		}
	})
	t.Run("process_environment", func(t *testing.T) {
		t.Setenv("AF_CONFIG_TEST", "there")
		c, err := config.Parse("", []byte("logger: {path: '${AF_CONFIG_TEST}'}"), nil)
		if err != nil || c.Logger.Path != "there" {
			t.Errorf("path %q, error %v", c.Logger.Path, err)
		}
	})
}

func TestBackendFollowsTheServers(t *testing.T) {
	m, r, q := &config.MongoDB{}, &config.Redis{}, &config.RabbitMQ{}
	const advice = ": configure all three of mongodb, redis and rabbitmq, or none for the embedded backend"
	for _, test := range []struct {
		config config.Config
		want   config.Backend
		err    string
	}{
		{config: config.Config{}, want: config.BackendEmbedded},
		{config: config.Config{MongoDB: m, Redis: r, RabbitMQ: q}, want: config.BackendServers},
		{config: config.Config{MongoDB: m}, err: "config: redis and rabbitmq are missing but mongodb is set" + advice},
		{config: config.Config{Redis: r, RabbitMQ: q},
			err: "config: mongodb is missing but redis and rabbitmq are set" + advice},
	} {
		got, err := test.config.Backend()
		if got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
		if (err != nil || test.err != "") && (err == nil || err.Error() != test.err) {
			t.Errorf("error %v, want %s", err, test.err)
		}
	}
}

func TestPackageCommentSampleParses(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, sample, _ := strings.Cut(file.Doc.Text(), "\n\tmongodb:")
	sample, _, _ = strings.Cut("\tmongodb:"+sample, "\n[Load]")
	sample = strings.ReplaceAll("\n"+sample, "\n\t", "\n")
	c := parse(t, sample, map[string]string{"MONGODB_PASSWORD": "m", "RABBITMQ_PASSWORD": "r"})
	if b, err := c.Backend(); b != config.BackendServers || err != nil {
		t.Errorf("backend %q, error %v", b, err)
	}
	if c.Tasks != defaults().Tasks || !c.RabbitMQ.TLS.Enabled || c.MongoDB.DB != "astraflux" {
		t.Errorf("the sample was not read whole: %+v", c)
	}
}
