package auto_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/runtime/backend/amqp"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/backend/redis"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

const hidden = "hunter2-§"

// secretField matches the names of fields that contain secrets, or URIs with one.
var secretField = regexp.MustCompile(`(?i)(password|passphrase|secret|token|credential|apikey|dsn|ur[il]s?)$`)

// secretTypes are the exported structs with such fields, by package and name.
var secretTypes = map[string]any{
	"backend/amqp.Config":  amqp.Config{},
	"backend/redis.Config": redis.Config{},
	"backend/mongo.Config": mongo.Config{},
	"config.MongoDB":       config.MongoDB{},
	"config.Redis":         config.Redis{},
	"config.RabbitMQ":      config.RabbitMQ{},
}

// Every exported struct with a secret is in secretTypes.
func TestAllTypesWithSecretsAreKnown(t *testing.T) {
	root := filepath.Join("..", "..")
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "internal" || d.Name() == "testdata"):
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			dir, _ := filepath.Rel(root, filepath.Dir(path))
			name := filepath.ToSlash(dir) + "." + spec.Name.Name
			for _, f := range s.Fields.List {
				secret := slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return secretField.MatchString(n.Name) })
				if _, known := secretTypes[name]; secret && !known {
					t.Errorf("%s has a secret, %s, but is not in secretTypes", name, f.Names[0])
				} else if secret {
					found++
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found < 10 {
		t.Errorf("%d fields found, %v", found, err)
	}
}

// filled returns a value of the type of v with hidden in all secrets.
func filled(v any) reflect.Value {
	s := reflect.New(reflect.TypeOf(v)).Elem()
	for i := range s.NumField() {
		switch f := s.Field(i); {
		case !secretField.MatchString(s.Type().Field(i).Name):
		case f.Kind() == reflect.String:
			f.SetString(hidden)
		default:
			f.Set(reflect.ValueOf([]string{hidden, hidden}))
		}
	}
	return s
}

// leak returns how v reveals a secret when printed, encoded or logged, or "".
func leak(v any) string {
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%20s", "%.3s", "%+q"}
	outputs := map[string]string{"Sprint": fmt.Sprint(v), "Errorf": fmt.Errorf("connecting: %v", v).Error()}
	for _, verb := range verbs {
		outputs[verb] = fmt.Sprintf(verb, v)
	}
	for how, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "yaml": yaml.Marshal} {
		b, err := marshal(v)
		if err != nil {
			outputs[how] = err.Error()
			continue
		}
		outputs[how] = string(b)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).With("a", v).Info("m", "b", v, slog.Group("g", slog.Any("c", v)))
	}
	outputs["slog"] = log.String()
	for how, out := range outputs {
		for _, form := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("% x", "hunter2"),
			strings.Trim(fmt.Sprint([]byte("hunter2")), "[]"), fmt.Sprintf("%o", []byte("hunter2"))} {
			if strings.Contains(strings.ToLower(out), strings.Trim(form, "[]")) {
				return how + " reveals the secret: " + out
			}
		}
	}
	return ""
}

func TestConfigsPrintNoSecrets(t *testing.T) {
	for name, v := range secretTypes {
		t.Run(name, func(t *testing.T) {
			value := filled(v)
			pointer := reflect.New(value.Type())
			pointer.Elem().Set(value)
			v := value.Interface()
			for how, v := range map[string]any{
				"value": v, "pointer": pointer.Interface(), "field": struct{ C any }{v}, "slice": []any{v},
				"map": map[string]any{"k": v},
			} {
				if l := leak(v); l != "" {
					t.Errorf("%s: %s", how, l)
				}
			}
			if text := fmt.Sprint(v); !strings.Contains(text, "[redacted]") {
				t.Errorf("%s doesn't show that a field is redacted", text)
			}
			if text := fmt.Sprintf("%+v", reflect.Zero(value.Type())); strings.Contains(text, "[redacted]") {
				t.Errorf("nothing to redact in %s", text)
			}
		})
	}
}

// Values made from a configuration don't print its secrets either.
func TestConnectionsPrintNoSecrets(t *testing.T) {
	conn, err := amqp.Dial(t.Context(), amqp.Config{URLs: []string{"amqp://u:hunter2@127.0.0.1:1/v"}, Degraded: true,
		ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	client, err := mongo.New(mongo.Config{URI: "mongodb://u:hunter2@127.0.0.1:1/", Address: "127.0.0.1:1", Database: "d"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	co, err := redis.Open(redis.Config{Addr: "127.0.0.1:1", Username: "u", Password: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	defer co.Close()
	var cfg config.Config
	cfg.MongoDB = &config.MongoDB{URI: hidden}
	cfg.Redis, cfg.RabbitMQ = &config.Redis{Password: hidden}, &config.RabbitMQ{Password: hidden}
	for name, v := range map[string]any{
		"amqp.Conn": conn, "mongo.Client": client, "redis.Coordinator": co, "config.Config": cfg,
		"servers.From": servers.From(cfg), "auto.From": auto.From(cfg),
	} {
		verbs := []string{"%v", "%+v", "%#v", "%s", "%q"}
		if strings.HasSuffix(name, "From") || name == "redis.Coordinator" {
			verbs = verbs[:3] // fmt doesn't call methods of unexported fields
		}
		for _, verb := range verbs {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hunter2") {
				t.Errorf("%s with %s: %s", name, verb, text)
			}
		}
	}
}
