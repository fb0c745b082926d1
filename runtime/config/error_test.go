package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/config"
)

// parts returns the joined errors.
func parts(t testing.TB, err error) []*config.Error {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v is not a joined error", err)
	}
	var all []*config.Error
	for _, e := range joined.Unwrap() {
		part, ok := e.(*config.Error)
		if !ok {
			t.Fatalf("%v is a %T", e, e)
		}
		all = append(all, part)
	}
	return all
}

// wrong parses an invalid file and compares all errors.
func wrong(t *testing.T, data string, want ...string) []*config.Error {
	t.Helper()
	c, err := config.Parse("c.yaml", []byte(data), env(map[string]string{"BAD": "no number"}))
	if err == nil {
		t.Fatalf("no error, want %q", want)
	}
	if c != (config.Config{}) {
		t.Errorf("there is an error, yet the config is not zero")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	return parts(t, err)
}

func TestDashboardIsChecked(t *testing.T) {
	for _, listen := range []string{"", "8090", "127.0.0.1", "127.0.0.1:", "127.0.0.1:+80", "127.0.0.1:65536", "::1:80",
		"a b:80", "http://localhost:80"} {
		shown := ""
		if listen != "" {
			shown = `, not "` + listen + `"`
		}
		wrong(t, "dashboard: {listen: '"+listen+"'}\n",
			"c.yaml:1:21: dashboard.listen must be a host and a port, such as 127.0.0.1:8090"+shown)
	}
	for _, hosts := range []string{"ops.example.com:80", "a,,b", "a b"} {
		wrong(t, "dashboard: {hosts: '"+hosts+"'}\n",
			`c.yaml:1:20: dashboard.hosts must be names or addresses of hosts, without ports, separated by commas, not "`+
				hosts+`"`)
	}
}

func TestAllProblemsAreReportedInOrder(t *testing.T) {
	got := wrong(t, `tasks:
  lease: 2s
  retention: {max: 0, age: 7}
  ip: here
rediss: 1
redis:
  prot: 1
  port: 99999
  port: 1
  host: [a]
  password: ${NOT_SET}
logger:
  level: loud
`,
		`c.yaml:2:10: tasks.lease must be a duration with its unit, such as 90s or 24h, of at least 3s, not "2s"`,
		`c.yaml:3:20: tasks.retention.max must be an integer from 1 to 1000000000, not "0"`,
		`c.yaml:3:28: tasks.retention.age must be a duration with its unit, such as 90s or 24h, of at least 1s, not "7"`,
		`c.yaml:4:7: tasks.ip must be an IPv4 or IPv6 address, not "here"`,
		`c.yaml:5:1: unknown key "rediss"; did you mean "redis"?`,
		`c.yaml:6:1: mongodb and rabbitmq are missing but redis (c.yaml:6) is set: `+
			`configure all three of mongodb, redis and rabbitmq, or none for the embedded backend`,
		`c.yaml:7:3: unknown key "prot" in redis; did you mean "port"?`,
		`c.yaml:8:9: redis.port must be an integer from 1 to 65535, not "99999"`,
		`c.yaml:9:3: redis.port is written twice, first in line 8`,
		`c.yaml:10:9: redis.host must be a single value (host), not a list`,
		`c.yaml:11:13: redis.password: environment variable NOT_SET is not set; use ${NOT_SET:-…} for a default`,
		`c.yaml:13:10: logger.level must be one of debug, info, warn, warning, error, not "loud"`,
	)
	var keys []string
	for _, e := range got {
		keys = append(keys, e.Key)
	}
	equal(t, keys,
		[]string{"tasks.lease", "tasks.retention.max", "tasks.retention.age", "tasks.ip", "rediss", "", "redis.prot",
			"redis.port", "redis.port", "redis.host", "redis.password", "logger.level"})
}

func TestErrorsUnwrap(t *testing.T) {
	_, err := config.Parse("c.yaml", []byte("logger:\n  level: loud\n"), nil)
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v holds no *config.Error", err)
	}
	equal(t, *e, config.Error{File: "c.yaml", Line: 2, Column: 10, Key: "logger.level",
		Message: `logger.level must be one of debug, info, warn, warning, error, not "loud"`})
}

func TestWrongTypesAreRefused(t *testing.T) {
	const noValue = `has no value: remove the key, write "" for an empty string, or quote a value that begins with #, ` +
		`& or !`
	for _, test := range []struct{ section, body, want string }{
		{"redis", "password: {a: b}", "redis.password must be a single value (secret), not a mapping"},
		{"redis", "password: [a]", "redis.password must be a single value (secret), not a list"},
		{"redis", "password:", "redis.password " + noValue},
		{"redis", "password: #hash", "redis.password " + noValue},
		{"redis", "password: &anchor", "redis.password " + noValue},
		{"redis", "password: ~", "redis.password " + noValue},
		{"redis", "password: !tag", "redis.password has a YAML tag: quote a value that begins with !"},
		{"redis", "password: !!binary eA==", "redis.password has a YAML tag: quote a value that begins with !"},
		{"redis", "port: 0x10", `redis.port must be an integer from 1 to 65535, not "0x10"`},
		{"redis", "port: 63.79", `redis.port must be an integer from 1 to 65535, not "63.79"`},
		{"redis", "port: -1", `redis.port must be an integer from 1 to 65535, not "-1"`},
		{"redis", "port: 99999999999999999999", `redis.port must be an integer from 1 to 65535, not "99999999999999999999"`},
		{"redis", "port: ''", `redis.port must be an integer from 1 to 65535`},
		{"redis", "port: ${BAD}", `redis.port must be an integer from 1 to 65535`},
		{"redis", "dial_timeout: 5",
			`redis.dial_timeout must be a duration with its unit, such as 90s or 24h, of at least 1ms, not "5"`},
		{"redis", "dial_timeout: -5s",
			`redis.dial_timeout must be a duration with its unit, such as 90s or 24h, of at least 1ms, not "-5s"`},
		{"redis", "dial_timeout: 9999999h",
			`redis.dial_timeout must be a duration with its unit, such as 90s or 24h, of at least 1ms, not "9999999h"`},
		{"redis", "tls: {enabled: yes}", `redis.tls.enabled must be true or false, not "yes"`},
		{"redis", "tls: on", "redis.tls must be a mapping, not a single value"},
		{"redis", "tls: [on]", "redis.tls must be a mapping, not a list"},
		{"redis", "host: ''", "redis.host must be a host name or an IP address"},
		{"redis", "host: a:6379",
			"redis.host must be a host name or an IP address alone; use port for the port and uri for a URI"},
		{"redis", "host: u@h", "redis.host must be a host name or an IP address"},
		{"redis", "host: '[::1'", "redis.host must be a host name or an IP address alone; use port for the port"},
		{"mongodb", "db: a/b", `mongodb.db must be 1 to 63 bytes without / \ . " $ and spaces, not "a/b"`},
		{"mongodb", "port: " + strings.Repeat("9", 41), "mongodb.port must be an integer from 1 to 65535"},
		{"rabbitmq", "vhost: ''", "rabbitmq.vhost must not be empty"},
	} {
		t.Run(test.body, func(t *testing.T) {
			data := servers(test.section, "  "+test.body+"\n")
			_, err := config.Parse("c.yaml", []byte(data), env(map[string]string{"BAD": "no number"}))
			if err == nil {
				t.Fatal("no error")
			}
			all := parts(t, err)
			if len(all) != 1 || all[0].Message != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	t.Run("embedded.durability", func(t *testing.T) {
		wrong(t, "embedded: {durability: FULL, path: ''}",
			`c.yaml:1:24: embedded.durability must be normal or full, not "FULL"`,
			`c.yaml:1:36: embedded.path must not be empty`)
	})
}

func TestInvalidEnvironmentReferences(t *testing.T) {
	const syntax = "logger.path: ${ must begin ${NAME} or ${NAME:-default}; write $${ for a literal ${"
	for text, want := range map[string]string{
		"${":            syntax,
		"a${B":          syntax,
		"${}":           syntax,
		"${1A}":         syntax,
		"${A B}":        syntax,
		"${A-b}":        syntax,
		"${:-b}":        syntax,
		"${X${Y:-z}}":   syntax,
		"${NO_1}":       "logger.path: environment variable NO_1 is not set; use ${NO_1:-…} for a default",
		"$$${A:-b}${_}": "logger.path: environment variable _ is not set; use ${_:-…} for a default",
	} {
		t.Run(text, func(t *testing.T) { wrong(t, "logger:\n  path: '"+text+"'\n", "c.yaml:2:9: "+want) })
	}
	t.Run("two_in_one_value", func(t *testing.T) {
		wrong(t, "logger: {path: '${A}${B}'}",
			"c.yaml:1:16: logger.path: environment variable A is not set; use ${A:-…} for a default",
			"c.yaml:1:16: logger.path: environment variable B is not set; use ${B:-…} for a default")
	})
}

func TestConflictingAndRequiredKeys(t *testing.T) {
	for name, test := range map[string]struct {
		section, body string
		want          []string
	}{
		"uri_and_parts": {"mongodb", "  uri: mongodb://h\n  host: h\n  db: d\n  username: u\n  password: p\n", []string{
			"mongodb.host conflicts with mongodb.uri (line 2): remove one",
			"mongodb.username conflicts with mongodb.uri (line 2): remove one",
			"mongodb.password conflicts with mongodb.uri (line 2): remove one",
		}},
		"bad_uri_and_parts": {"redis", "  port: 1\n  db: 1\n  uri: http://h\n  tls: {ca_file: x}\n", []string{
			"redis.port conflicts with redis.uri (line 5): remove one",
			"redis.db conflicts with redis.uri (line 5): remove one",
			"redis.uri must begin with redis:// or rediss://",
		}},
		"uri_and_vhost": {"rabbitmq", "  uri: amqp://h\n  vhost: v\n",
			[]string{"rabbitmq.vhost conflicts with rabbitmq.uri (line 4): remove one"}},
		"password_without_user": {"mongodb", "  password: p\n", []string{"mongodb.password needs mongodb.username"}},
		"certificate_alone": {"redis", "  tls: {enabled: true, cert_file: c}\n",
			[]string{"redis.tls.cert_file needs redis.tls.key_file"}},
		"key_alone": {"redis", "  tls: {enabled: true, key_file: c, cert_file: ''}\n",
			[]string{"redis.tls.key_file needs redis.tls.cert_file"}},
		"tls_invalid": {"redis", "  tls: {ca_file: c, server_name: s}\n",
			[]string{"redis.tls.ca_file needs redis.tls.enabled to be set to true or false"}},
		"tls_against_rediss": {"redis", "  uri: rediss://h\n  tls: {enabled: false}\n",
			[]string{"redis.tls.enabled contradicts the scheme of redis.uri"}},
		"tls_against_amqp": {"rabbitmq", "  uri: amqp://h\n  tls: {enabled: true}\n",
			[]string{"rabbitmq.tls.enabled contradicts the scheme of rabbitmq.uri"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("c.yaml", []byte(servers(test.section, test.body)), nil)
			if err == nil {
				t.Fatal("no error")
			}
			var got []string
			for _, e := range parts(t, err) {
				got = append(got, e.Message)
			}
			equal(t, got, test.want)
		})
	}
	t.Run("redis_password_only", func(t *testing.T) { parse(t, servers("redis", "  password: p\n"), nil) })
	t.Run("tls_off", func(t *testing.T) {
		parse(t, servers("redis", "  tls: {enabled: false, ca_file: c}\n"), nil)
	})
}

func TestUnknownKeysSuggestKnownOnes(t *testing.T) {
	for key, want := range map[string]string{
		"user": "username", "pass": "password", "poolSize": "pool_size", "Dial-Timeout": "dial_timeout", "HOST": "host",
		"hots": "host",
		"url":  "uri", "passwd": "password", "database": "", "dbs": "", "x": "", "retries": "",
	} {
		t.Run(key, func(t *testing.T) {
			message := `unknown key "` + key + `" in redis`
			if want != "" {
				message += `; did you mean "` + want + `"?`
			}
			_, err := config.Parse("", []byte(servers("redis", "  "+key+": v\n")), nil)
			if err == nil {
				t.Fatal("no error")
			}
			if got := parts(t, err)[0]; got.Message != message || got.Key != "redis."+key {
				t.Errorf("got %q at %q, want %q", got.Message, got.Key, message)
			}
		})
	}
}

func TestInvalidYAML(t *testing.T) {
	const sections = "the file must be a mapping with the sections mongodb, redis, rabbitmq, servers, logger, embedded, tasks, " +
		"dashboard and workers, not "
	const plain = "unknown key in logger: keys are plain names"
	for name, test := range map[string]struct {
		data string
		want []string
	}{
		"list":            {"- a\n- b\n", []string{"1:1: " + sections + "a list"}},
		"text":            {"\nredis\n", []string{"2:1: " + sections + "a single value"}},
		"section_as_text": {"logger: logs\n", []string{"1:9: logger must be a mapping, not a single value"}},
		"key_is_list":     {"logger:\n  ? [a]\n  : b\n", []string{"2:5: " + plain}},
		"key_is_strange":  {"logger:\n  'a b': c\n", []string{"2:3: " + plain}},
		"key_is_alias":    {"logger: {path: &a level, *a : info}\n", []string{"1:26: " + plain}},
		"merge_key": {"logger:\n  <<: {path: x}\n",
			[]string{"2:3: merge keys (<<) in logger are not supported: write the keys out, or use an alias for a whole " +
				"mapping"}},
		"section_twice": {"logger: {path: a}\nlogger: {path: 1, b: c}\n",
			[]string{"2:1: logger is written twice, first in line 1"}},
		"two_documents": {"logger:\n---\nlogger:\n",
			[]string{"2:1: a second YAML document begins here: only one is allowed"}},
		"broken_second": {"embedded: {path: ''}\n---\na: {\n",
			[]string{"1:18: embedded.path must not be empty", "4:1: YAML: did not find expected node content"}},
		"alias_of_itself": {"logger: &l\n  path: p\n  l: *l\n", []string{`3:3: unknown key "l" in logger`}},
		"no_such_anchor": {"a: b\nredis: {ä: c, password: *secret}\n",
			[]string{"2:25: unknown YAML anchor; quote a value that begins with *"}},
		"special_character": {"a: b\nredis:\n  password: @foo\n",
			[]string{"3:1: YAML: found character that cannot start any token: quote a value that begins with a special " +
				"character, and indent with spaces"}},
		"tab": {"a: b\nredis:\n\tport: 1\n",
			[]string{"3:1: YAML: found character that cannot start any token: quote a value that begins with a special " +
				"character, and indent with spaces"}},
		"indentation": {"redis:\n  host: a\n port: 1\n",
			[]string{"3:1: YAML: did not find expected key: check the indentation of this line and those below it"}},
		"colon": {"# c\nredis:\n  host: a\n  password: 1: 2\n",
			[]string{"4:1: YAML: mapping values are not allowed in this context: check the indentation, and quote a value " +
				"with a colon in it"}},
		"open_brace": {"a: b\nredis: {host: a\nlogger: x\n",
			[]string{"2:1: YAML: did not find expected ',' or '}': close the brace, and quote a value with braces in it, such " +
				"as \"${NAME}\""}},
		"first_line":        {"k: }\n", []string{"1:1: YAML: did not find expected node content"}},
		"control_character": {"a: b\nc: ä\x01\n", []string{"2:5: invalid UTF-8 or control character"}},
		"not_utf8":          {"a: \xff", []string{"1:4: invalid UTF-8 or control character"}},
		"UTF-16":            {"\xff\xfea\x00", []string{"1:1: invalid UTF-8 or control character"}},
		"too_large":         {strings.Repeat("#\n", 1<<19) + "#", []string{"1:1: the file is larger than 1 MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, w := range test.want {
				test.want[i] = "c.yaml:" + w
			}
			wrong(t, test.data, test.want...)
		})
	}
	t.Run("exactly_1MiB", func(t *testing.T) { parse(t, strings.Repeat("#\n", 1<<19), nil) })
}

func TestAliasBombsCostNothing(t *testing.T) {
	// Each level doubles; expanded, this would be 2⁶⁰ nodes.
	bomb := "logger:\n  x: &a0 [x, x]\n"
	for i := range 60 {
		bomb += fmt.Sprintf("  x%d: &a%d [*a%d, *a%d]\n", i, i+1, i, i)
	}
	bomb += "  path: *a60\n  password: *a60\n"
	start := time.Now()
	_, err := config.Parse("c.yaml", []byte(bomb), nil)
	if err == nil || !strings.Contains(err.Error(), "logger.path must be a single value (text), not a list") {
		t.Errorf("got %v", err)
	}
	for _, deep := range []string{strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		strings.Repeat("a: {", 9000) + strings.Repeat("}", 9000)} {
		if _, err := config.Parse("c.yaml", []byte("x: "+deep), nil); err == nil {
			t.Error("no error")
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestLoggerWithoutEffect(t *testing.T) {
	for text, want := range map[string]string{
		"{console: false}":                    "",
		"{path: ''}":                          "",
		"{path: '', format: json}":            "",
		"{console: true, format: json}":       "",
		"{path: '', console: false}":          `c.yaml:1:20: logger.console must be true, since logger.path is ""`,
		"{console: false, format: json}":      "c.yaml:1:26: logger.format needs logger.console to be true",
		"{format: text, console: 'false'}":    "c.yaml:1:10: logger.format needs logger.console to be true",
		"{format: yaml}":                      `c.yaml:1:18: logger.format must be text or json, not "yaml"`,
		"{console: stderr}":                   `c.yaml:1:19: logger.console must be true or false, not "stderr"`,
		"{console: perhaps, format: json}":    `c.yaml:1:19: logger.console must be true or false, not "perhaps"`,
		"{path: '${NONE:-}', console: false}": `c.yaml:1:29: logger.console must be true, since logger.path is ""`,
	} {
		t.Run(strings.ReplaceAll(text, " ", ""), func(t *testing.T) {
			if want != "" {
				wrong(t, "logger: "+text, want)
				return
			}
			if _, err := config.Parse("c.yaml", []byte("logger: "+text), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("AF_CONFIG_TEST", "from-env")
	c, err := config.Load(write("good.yaml", "logger: {path: '${AF_CONFIG_TEST}'}\n"))
	if err != nil || c.Logger.Path != "from-env" {
		t.Errorf("path %q, error %v", c.Logger.Path, err)
	}
	if c.Root != dir || c.File != filepath.Join(dir, "good.yaml") {
		t.Errorf("directory %q, file %q, want %q", c.Root, c.File, dir)
	}
	partial := write("partial.yaml", "# c\nredis:\nmongodb:\n")
	want := partial + ":2:1: rabbitmq is missing but mongodb (" + partial + ":3) and redis (" + partial +
		":2) are set: configure all three of mongodb, redis and rabbitmq, or none for the embedded backend"
	if _, err := config.Load(partial); err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	if _, err := config.Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := config.Load(filepath.Join(dir, "good.yml")); !errors.Is(err, fs.ErrNotExist) ||
		!strings.HasSuffix(err.Error(), filepath.Join(dir, "good.yaml")+" exists and is not read: rename it") {
		t.Errorf("a missing file with another extension: %v", err)
	}
	if _, err := config.Load(dir); err == nil {
		t.Error("read a directory")
	}
	if _, err := config.Load(write("big.yaml", strings.Repeat("#", 2<<20))); err == nil ||
		!strings.HasSuffix(err.Error(), ":1:1: the file is larger than 1 MiB") {
		t.Errorf("a large file: %v", err)
	}
}
