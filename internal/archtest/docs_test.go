package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Documents mention only exported names that exist, such as af.Weight, executor.Processes or app.StopTask. Package
// internal/snippets compiles their snippets.
func TestDocumentsMentionExistingNames(t *testing.T) {
	packages := map[string]string{
		"af": "runtime", "executor": "runtime/executor", "timefmt": "runtime/timefmt", "snowflake": "runtime/snowflake",
		"logs": "runtime/logs", "health": "runtime/health", "instrument": "runtime/instrument",
		"afotel": "otel", "metrics": "metrics",
		"httpstatus": "runtime/httpstatus", "aftest": "runtime/aftest", "memory": "runtime/backend/memory",
		"embedded": "runtime/backend/embedded", "servers": "runtime/backend/servers", "auto": "runtime/backend/auto",
	}
	declared := map[string]map[string]bool{}
	for name, dir := range packages {
		declared[name] = exported(t, filepath.Join(root, dir))
	}
	found := 0
	for _, page := range documents(t) {
		for _, m := range regexp.MustCompile(`(^|[^\w/."])(\w+)\.([A-Z]\w*)`).FindAllStringSubmatch(read(t, page), -1) {
			known := declared[m[2]]
			name := m[3]
			if m[2] == "app" {
				known, name = declared["af"], "App."+name
			}
			if known == nil {
				continue
			}
			if found++; !known[name] {
				t.Errorf("%s: %s.%s does not exist", page, m[2], m[3])
			}
		}
	}
	if found < 200 {
		t.Errorf("found only %d names", found)
	}
}

// exported returns the names that a package declares at its top level, and Type.Method for methods.
func exported(t *testing.T, dir string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := d.Recv.List[0].Type
					if p, ok := receiver.(*ast.StarExpr); ok {
						receiver = p.X
					}
					id, ok := receiver.(*ast.Ident)
					if !ok {
						continue // generic
					}
					name = id.Name + "." + name
				}
				out[name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						out[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							out[n.Name] = true
						}
					}
				}
			}
		}
	}
	return out
}
