package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/config"
)

// FuzzParse checks that Parse never panics and returns either a usable Config or problems. Problems are sorted, have
// positions within the file, take one line each, and contain nothing of the environment.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"",
		"mongodb:\nredis:\nrabbitmq:\n",
		"mongodb: {host: h, port: '${A}', username: u, password: '${B:-x}'}\nredis: {}\n",
		"redis:\n  uri: rediss://:p%40@[::1]:1/2\n  tls: {ca_file: x}\nrabbitmq: {uri: 'amqp://a:b@c/%2F'}\nmongodb: {uri: " +
			"'mongodb://a,b/c?d=e'}\n",
		"logger: &l {path: &p a, level: *p, l: *l, <<: *l}\n",
		"tasks: {retention: {age: 1h, max: 1}, lease: 3s, ip: ::1}\nembedded: {durability: full, path: |\n  x\n}\n",
		"a: b\n---\nc: [\n",
		"%YAML 1.1\n---\n!!map {? [a] : !b c, \"\\x00\": 'd'}\n...\n",
		"redis:\n\tport: 1\n password: @\n\xff",
		"\ufefflogger:\r\n  level: \"$${A}${A\"\r\n",
		"logger: {level: ${A}}",
		"- *a\n- &a\n",
	} {
		f.Add([]byte(seed))
	}
	const marker = "5af3cafe"
	look := func(name string) (string, bool) { return marker, name != "UNSET" }
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("c.yaml", data, look)
		if err == nil {
			if _, err := c.Backend(); err != nil {
				t.Errorf("Parse accepted what Backend refuses: %v", err)
			}
			return
		}
		if c != (config.Config{}) {
			t.Error("an error came with a Config")
		}
		all := parts(t, err)
		if len(all) == 0 {
			t.Error("an error without parts")
		}
		lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029",
			"\n").Replace(string(data)), "\n") + 1
		for _, e := range all {
			if e.File != "c.yaml" || e.Line < 1 || e.Column < 1 || e.Message == "" || strings.ContainsAny(e.Error(), "\n\r") {
				t.Errorf("not a proper problem: %+v", *e)
			}
			if e.Line > lines {
				t.Errorf("line %d of %d: %v", e.Line, lines, e)
			}
			if strings.Contains(e.Error(), marker) && !strings.Contains(string(data), marker) {
				t.Errorf("a variable is shown: %v", e)
			}
		}
		if !slices.IsSortedFunc(all, func(a, b *config.Error) int { return a.Line - b.Line }) {
			t.Errorf("not sorted: %v", err)
		}
	})
}
