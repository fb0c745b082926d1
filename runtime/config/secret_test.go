package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/runtime/config"
)

const hidden = "hunter2-§"

// secretConfigs returns configs with the secret in every secret key, as separate keys and in URIs, whole and by
// section.
func secretConfigs(t *testing.T) map[string]any {
	parts := parse(t, `
mongodb: {username: u, password: hunter2-§}
redis: {password: hunter2-§}
rabbitmq: {username: u, password: hunter2-§}
`, nil)
	uris := parse(t, `
mongodb: {uri: "mongodb://u:hunter2-§@h"}
redis: {uri: "redis://u:hunter2-%C2%A7@h"}
rabbitmq: {uri: "amqp://u:hunter2-%C2%A7@h"}
`, nil)
	uris.Redis.URI, uris.RabbitMQ.URI = "redis://u:"+hidden+"@h", "amqp://u:"+hidden+"@h"
	values := map[string]any{
		"secret":         config.Secret(hidden),
		"connection_uri": parts.MongoDB.ConnectionURI(),
		"slice":          []config.Secret{hidden},
		"map":            map[string]config.Secret{"k": hidden},
	}
	for name, c := range map[string]config.Config{"parts": parts, "uris": uris} {
		values[name] = c
		values[name+"_pointer"] = &c
		values[name+"_mongodb"], values[name+"_mongodb_pointer"] = *c.MongoDB, c.MongoDB
		values[name+"_redis"], values[name+"_redis_pointer"] = *c.Redis, c.Redis
		values[name+"_rabbitmq"], values[name+"_rabbitmq_pointer"] = *c.RabbitMQ, c.RabbitMQ
		values[name+"_in_struct"] = struct {
			C config.Config
			P *config.Redis
			V config.RabbitMQ
		}{c, c.Redis, *c.RabbitMQ}
		values[name+"_unexported"] = struct {
			c config.Config
			p *config.Redis
		}{c, c.Redis}
	}
	return values
}

// leaks reports whether out contains the secret in any printed form.
func leaks(out string) bool {
	out = strings.ToLower(out)
	for _, form := range []string{
		hidden, "hunter2", strings.Trim(fmt.Sprintf("%q", hidden), `"`), fmt.Sprintf("%x", hidden),
		fmt.Sprintf("% x", hidden),
		strings.Trim(fmt.Sprint([]byte(hidden)), "[]"),
	} {
		if strings.Contains(out, strings.ToLower(form)) {
			return true
		}
	}
	return false
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	formats := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%+q", "%T %v", "%20s", "%.3s", "%o"}
	for name, value := range secretConfigs(t) {
		t.Run(name, func(t *testing.T) {
			check := func(how, out string) {
				if leaks(out) {
					t.Errorf("%s shows the secret: %s", how, out)
				}
			}
			for _, f := range formats {
				if strings.HasSuffix(name, "unexported") && f != "%v" && f != "%+v" && f != "%#v" {
					continue // documented
				}
				if f == "%T %v" {
					check(f, fmt.Sprintf(f, value, value))
				} else {
					check(f, fmt.Sprintf(f, value))
				}
			}
			check("Sprint", fmt.Sprint(value))
			check("Errorf", fmt.Errorf("connecting: %v", value).Error())
			for how, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "yaml": yaml.Marshal} {
				if strings.HasSuffix(name, "unexported") {
					continue // encoders ignore unexported fields
				}
				out, err := marshal(value)
				if err != nil {
					t.Errorf("%s: %v", how, err)
				}
				check(how, string(out))
				if !strings.Contains(string(out), "[redacted]") {
					t.Errorf("%s doesn't say that something was left out: %s", how, out)
				}
			}
			var out bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				slog.New(h).With("a", value).Info("m", "b", value, slog.Group("g", slog.Any("c", value)))
			}
			check("slog", out.String())
		})
	}
}

func TestSecretsPrintRedactedOrEmpty(t *testing.T) {
	for secret, want := range map[config.Secret]string{"": "", hidden: "[redacted]"} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
			if got := fmt.Sprintf(verb, secret); got != want {
				t.Errorf("%s gives %q, want %q", verb, got, want)
			}
		}
		text, _ := secret.MarshalText()
		asJSON, _ := json.Marshal(secret)
		asYAML, _ := secret.MarshalYAML()
		equal(t, []any{secret.String(), secret.GoString(), string(text), string(asJSON), asYAML, secret.LogValue().String()},
			[]any{want, want, want, `"` + want + `"`, want, want})
	}
	if got := config.Secret(hidden).Reveal(); got != hidden {
		t.Errorf("Reveal gives %q", got)
	}
}

func TestConfigsPrintWhole(t *testing.T) {
	c := parse(t, servers("redis", "  password: p\n"), nil)
	c.MongoDB, c.RabbitMQ = nil, nil
	const want = "{MongoDB:<nil> Redis:{URI: Host:127.0.0.1 Port:6379 DB:0 Username: Password:[redacted] " +
		"TLS:{Enabled:false CAFile: " +
		"CertFile: KeyFile: ServerName:} PoolSize:20 DialTimeout:5s} RabbitMQ:<nil> Servers:{StartDegraded:false} " +
		"Logger:{Path:logs Level:INFO Console:true Format:text} " +
		"Embedded:{Path:.af/af.db Durability:normal} Tasks:{Retention:{Age:168h0m0s Max:100000} Lease:20s " +
		"WrongVersionAfter:24h0m0s IP:} Workers:<nil> Dashboard:<nil> Root: File:}"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, c); got != want {
			t.Errorf("%s gives\n%s, want\n%s", verb, got, want)
		}
	}
}

func TestErrorsNeverShowSecrets(t *testing.T) {
	vars := map[string]string{"PW": hidden}
	files := map[string]string{
		"variable_under_another_key": "redis: {port: '${PW}', host: 'a b ${PW}', tls: {enabled: '${PW}'}}\nlogger: {level: " +
			"'${PW}'}\n",
		"variable_and_default":    "logger: {level: '${NOT_SET:-hunter2-§}'}\n",
		"reference_cut_short":     "redis: {password: '${PW} hunter2 ${hunter2-§'}\n",
		"unset_after_secret":      "redis: {password: 'hunter2-§ ${PW}${OTHER}'}\n",
		"host":                    "redis: {host: 'redis://:hunter2-§@h'}\n",
		"section":                 "redis: redis://:hunter2-§@h\n",
		"top":                     "redis://:hunter2-§@h\n",
		"list":                    "redis: {password: [hunter2-§]}\n",
		"mapping":                 "redis: {password: {hunter2: §}}\n",
		"key":                     "redis: {'redis://:hunter2-§@h': x, 'hunter2 §': y}\n",
		"value_of_unknown_key":    "redis: {passwort: hunter2-§}\n",
		"tag":                     "redis: {password: !hunter2-§ x}\n",
		"anchor":                  "redis: {password: &hunter2}\n",
		"unknown_alias":           "redis: {password: *hunter2}\n",
		"special_character":       "redis:\n  password: @hunter2-§\n",
		"colon":                   "redis:\n  password: hunter2-§: x\n",
		"quotes":                  "redis:\n  password: 'hunter2-§' hunter2\n",
		"alias_under_another_key": "redis: {password: &p hunter2-§, port: *p, db: *p}\nlogger: {level: *p}\n",
		"alias_of_unknown_key":    "redis: {passwort: &p hunter2-§, port: *p}\n",
		"alias_reversed":          "redis: {port: &p hunter2-§, password: *p}\n",
		"same_text_twice":         "redis: {password: hunter2-§, port: hunter2-§}\n",
		"part_of_secret":          "redis: {password: my-hunter2-§, port: hunter2-§}\n",
		"written_twice":           "redis: {password: a, password: hunter2-§, port: hunter2-§}\n",
		"under_unknown_section":   "rediss: {password: [hunter2-§]}\nlogger: {level: hunter2-§}\n",
		"from_environment":        "redis: {password: '${PW}', port: hunter2-§}\n",
		"next_to_uri":             "redis: {uri: redis://h, password: hunter2-§}\n",
	}
	for i, uri := range []string{
		"redis://:hunter2-§%@h", "redis://:hunter2-§%zz@h", "redis://:hunter2-§/x@h", "redis://:hunter2-§#x@h",
		"redis://:hunter2-§?x@h",
		"redis://:hunter2-§@", "redis://:hunter2-§", "redis://hunter2-§:x", "redis://:hunter2-§@h:port",
		"redis://:hunter2-§@h/nr",
		"redis://:hunter2-§ x@h", "redis://:\"hunter2-§\"@h", "redis:/hunter2-§", "hunter2-§", "http://:hunter2-§@h", "${PW}",
		"redis://:${PW}%@h", "redis://:x@${PW}:x", "redis://:x@h/${PW}", "redis://${PW}/:x@h:1",
	} {
		files[fmt.Sprintf("uri %d", i)] = "redis:\n  uri: '" + uri + "'\n"
	}
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("c.yaml", []byte(data), env(vars))
			if err == nil {
				t.Fatal("no error")
			}
			for _, out := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", parts(t, err))} {
				if leaks(out) {
					t.Errorf("the secret is shown: %s", out)
				}
			}
			for _, e := range parts(t, err) {
				if leaks(fmt.Sprintf("%+v", *e)) {
					t.Errorf("the secret is shown: %+v", *e)
				}
			}
		})
	}
}
