package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/runtime/config"
)

var update = flag.Bool("update", false, "rewrite docs/config.md")

const docsIntro = `# config.yaml

<!-- made by go test ./runtime/config -update -->

One file configures a program: its backend, its log and the task engine. Parsing is strict: unknown keys, repeated keys
and values of the wrong type are errors with file and line, and all are reported together. ` + "`${NAME}`" + ` in a value is
replaced by the environment variable NAME, which must be set; ` + "`${NAME:-text}`" + ` falls back to text. Passwords and URIs
never appear in logs or errors.

` + "```go" + `
cfg, err := auto.Load("") // config.yaml if it exists, or else the defaults
app, err := af.Open(ctx, auto.From(cfg), auto.Options(cfg)...)
` + "```" + `

Without the sections mongodb, redis and rabbitmq, the program runs on the embedded backend; with all three, on the
servers. One or two of them are an error that names the missing sections.

| key | type | default | |
|---|---|---|---|
`

// The page is generated from the keys.
func TestKeysPageIsCurrent(t *testing.T) {
	const file = "../../docs/config.md"
	var b strings.Builder
	b.WriteString(docsIntro)
	for _, k := range config.Keys() {
		if k.Type == "mapping" && !strings.Contains(k.Name, ".") {
			fmt.Fprintf(&b, "| **`%s`** | | | **%s** |\n", k.Name, k.Doc)
			continue
		}
		def := ""
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Type, def, strings.ReplaceAll(k.Doc, "|", `\|`))
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old, err := os.ReadFile(file); err != nil || string(old) != b.String() {
		t.Errorf("%s is stale (%v); go test ./runtime/config -update rewrites it", file, err)
	}
}

// The configurations in README and docs are valid, and their other blocks of YAML are YAML.
func TestConfigurationsInDocumentsAreValid(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) {
		switch name {
		case "MONGODB_URI":
			return "mongodb://mongo.internal/shop", true
		case "REDIS_URI":
			return "redis://redis.internal", true
		}
		if strings.HasSuffix(name, "_PASSWORD") {
			return "secret", true
		}
		return "", false
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")
	configurations := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(text, -1) {
			top := map[string]any{}
			if err := yaml.Unmarshal(m[1], &top); err != nil {
				t.Errorf("%s: %v", page, err)
			}
			if !slices.ContainsFunc(config.Keys(), func(k config.Key) bool { return top[k.Name] != nil }) || top["services"] != nil {
				continue
			}
			configurations++
			if _, err := config.Parse(filepath.Base(page), m[1], env); err != nil {
				t.Error(err)
			}
		}
	}
	if configurations < 3 {
		t.Errorf("found only %d configurations", configurations)
	}
}
