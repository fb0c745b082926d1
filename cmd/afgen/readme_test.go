package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

// TestReadme runs the commands of README.md with this clone, compares the output of the client, and checks that the
// code in it is that of the project.
func TestReadme(t *testing.T) {
	readme := document(t, "README.md")
	if words := len(strings.Fields(readme)); words > 900 {
		t.Errorf("README.md has %d words, want at most 900", words)
	}
	testkit.Long(t, "runs the README's commands in a new project")
	init, _, ok := strings.Cut(block(t, readme, "in a clone of this repository:\n\n```sh\n"), " ../shop && cd ..\n")
	if !ok {
		t.Fatalf("the project is made by %q", init)
	}
	dir := filepath.Join(t.TempDir(), "shop")
	inDir(t, root(t), "sh", "-c", init+" "+dir)
	write(t, filepath.Join(dir, "go.sum"), document(t, "go.sum"))

	shown := block(t, readme, "In `shop/shop.go`:\n\n```go\n")
	contains(t, document(t, dir+"/shop/shop.go"), shown)
	registers := "shop.RegisterShop(app, &shop.Shop{})\nshop.RegisterReceipt(app, &shop.Receipt{})\n"
	contains(t, document(t, dir+"/main.go"), registers)

	commands := block(t, readme, "compiles SQLite and the drivers.\n\n```sh\n")
	if got := runProject(t, dir, commands); got != block(t, readme, "The client prints:\n\n```\n") {
		t.Errorf("the client prints\n%s", got)
	}
}

// TestGettingStarted writes the files of docs/getting-started.md, runs its commands with this clone, and compares the
// output, the generated code and a diagnostic with the page.
func TestGettingStarted(t *testing.T) {
	testkit.Long(t, "runs the commands of docs/getting-started.md in a new module")
	page := document(t, "docs/getting-started.md")
	dir := t.TempDir()
	files := map[string]string{}
	file := regexp.MustCompile("(?ms)^`([a-z_/]+\\.go)`:\n\n```go\n(.*?)^```")
	for _, m := range file.FindAllStringSubmatch(page, -1) {
		files[m[1]] = m[2]
		write(t, filepath.Join(dir, m[1]), m[2])
	}
	if len(files) != 6 {
		t.Fatalf("found %d files", len(files))
	}
	write(t, filepath.Join(dir, "go.sum"), document(t, "go.sum"))
	module := block(t, page, "against a clone of afgen:\n\n```sh\n")
	inDir(t, dir, "sh", "-c", strings.ReplaceAll(module, "/path/to/afgen", root(t)))
	got := runProject(t, dir, block(t, page, "Generate, test and run:\n\n```sh\n"))
	if got != block(t, page, "The client prints:\n\n```\n") {
		t.Errorf("the client prints\n%s", got)
	}
	contains(t, document(t, dir+"/shop/af_gen.go"), block(t, page, "`shop/af_gen.go` contains, among others:\n\n```go\n"))

	service := filepath.Join(dir, "shop", "shop.go")
	write(t, service, strings.Replace(files["shop/shop.go"], "//af:rpc timeout", "//af:rpc timout", 1))
	cmd := exec.Command("go", "tool", "afgen", "./...")
	cmd.Dir = dir
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), block(t, page, "writes nothing:\n\n```\n")) {
		t.Errorf("the invalid directive prints\n%s", out)
	}
}

// runProject runs the commands of a document, one per line, and returns the output of the client. "go run ." is the
// server, which runs until the last command has ended.
func runProject(t *testing.T, dir, commands string) (printed string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		switch command {
		case "cd shop":
		case "go run .":
			inDir(t, dir, "go", "build", "-o", "server", ".")
			cmd := exec.Command(filepath.Join(dir, "server"))
			cmd.Dir = dir
			defer testkit.Launch(t, cmd).Stop()
		case "go run ./client":
			return inDir(t, dir, "go", "run", "./client")
		default:
			inDir(t, dir, "sh", "-c", command)
		}
	}
	t.Fatal("no command runs the client")
	return ""
}

// contains checks that the lines of part are in text, in this order. " … }" at the end of a line matches any code.
func contains(t *testing.T, text, part string) {
	t.Helper()
	for line := range strings.Lines(part) {
		_, after, ok := strings.Cut(text, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), " … }"))
		if !ok {
			t.Errorf("there is no line %q", line)
			continue
		}
		text = after
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// document returns the text of a file, whose path may be relative to the clone.
func document(t *testing.T, path string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(root(t), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block returns a fenced block of a document by the text before it.
func block(t *testing.T, page, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, after)
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("no block after %q", after)
	}
	return text
}

var write = testkit.Write

func environment() []string {
	return append(os.Environ(), "GOFLAGS="+testkit.GoFlags(), "GOWORK=off", "AFGEN_CACHE=off")
}

func inDir(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = environment()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// Commands in documents, such as `afgen check ./...`, exist and have the flags that they are given.
func TestDocumentedCommandsExist(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root(t), "docs", "*.md"))
	if err != nil || len(pages) < 10 {
		t.Fatal(pages, err)
	}
	quoted := regexp.MustCompile("(?m)(?:`|^|^\\$ )(?:go tool |go run \\S*cmd/)?afgen(?:@latest)? ([a-z]+[^`\n]*)")
	fence := regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]+`")
	commands := (&command{}).root()
	commands.InitDefaultCompletionCmd("completion")
	commands.InitDefaultHelpCmd()
	found := 0
	for _, page := range append(pages, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") {
		for _, code := range fence.FindAllString(document(t, page), -1) {
			for _, m := range quoted.FindAllStringSubmatch(code, -1) {
				found++
				args := strings.Fields(m[1])
				cmd, _, err := commands.Find(args[:1])
				if args[0] == "work" { // a pattern of packages
					continue
				}
				if err != nil || cmd == commands {
					t.Errorf("%s: no command %q", filepath.Base(page), m[0])
					continue
				}
				for _, arg := range args[1:] {
					name, _, _ := strings.Cut(strings.Trim(arg, "[]"), "=")
					if !strings.HasPrefix(name, "-") {
						continue
					}
					name = strings.TrimLeft(name, "-")
					flags := cmd.InheritedFlags()
					flags.AddFlagSet(cmd.Flags())
					if flags.Lookup(name) == nil && (len(name) != 1 || flags.ShorthandLookup(name) == nil) && name != "h" {
						t.Errorf("%s: %q has no flag %q", filepath.Base(page), cmd.Name(), arg)
					}
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("found only %d commands", found)
	}
}
