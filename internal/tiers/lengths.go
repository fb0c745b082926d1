package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// shortScript matches a script of testscript that does less with -short.
var shortScript = regexp.MustCompile(`(?m)^\[!?short\]`)

// notRaced matches the constraint of a file that is not compiled with the race detector.
var notRaced = regexp.MustCompile(`(?m)^//go:build .*!race\b`)

// fullLength returns a pattern for -run that matches the tests in a package's directory that do less with -short or
// with the race detector: those that use a marker, directly or through declarations of the package. "" means none.
func fullLength(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return "", err
	}
	uses := map[string]map[string]bool{} // names used, by the name of the declaration that uses them
	marked := map[string]bool{}
	var tests, scripted []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return "", fmt.Errorf("reading tests: %w", err)
		}
		for _, d := range file.Decls {
			names, isFunc := declared(d)
			for _, n := range names {
				if uses[n] == nil {
					uses[n] = map[string]bool{}
				}
				maps.Copy(uses[n], namesIn(d))
				marked[n] = marked[n] || notRaced.Match(text)
			}
			if isFunc && isTest(names[0]) {
				tests = append(tests, names[0])
				if uses[names[0]]["testscript.Run"] {
					scripted = append(scripted, names[0])
				}
			}
		}
	}
	for _, marker := range []string{"testkit.Long", "testkit.Fewer", "testing.Short"} {
		marked[marker] = true
	}
	spread(marked, uses)
	var patterns []string
	for _, t := range tests {
		if marked[t] {
			patterns = append(patterns, "^"+t+"$")
		}
	}
	scripts, err := shortScripts(dir)
	if err != nil {
		return "", err
	}
	for _, t := range scripted {
		for _, s := range scripts {
			patterns = append(patterns, "^"+t+"$/^"+s+"$")
		}
	}
	return strings.Join(patterns, "|"), nil
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") && name != "TestMain" || strings.HasPrefix(name, "Fuzz")
}

// declared returns the names that a declaration declares. The name of a method begins with a dot.
func declared(d ast.Decl) (names []string, isFunc bool) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil {
			return []string{"." + d.Name.Name}, false
		}
		return []string{d.Name.Name}, true
	case *ast.GenDecl:
		for _, s := range d.Specs {
			if v, ok := s.(*ast.ValueSpec); ok {
				for _, n := range v.Names {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names, false
}

// namesIn returns the identifiers in a declaration, and its selectors: as "x.Name" for an identifier x, and as ".Name".
func namesIn(d ast.Node) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			names[n.Name] = true
		case *ast.SelectorExpr:
			names["."+n.Sel.Name] = true
			if x, ok := n.X.(*ast.Ident); ok {
				names[x.Name+"."+n.Sel.Name] = true
			}
			maps.Copy(names, namesIn(n.X))
			return false
		}
		return true
	})
	return names
}

// spread marks what uses something marked, until nothing changes.
func spread(marked map[string]bool, uses map[string]map[string]bool) {
	for changed := true; changed; {
		changed = false
		for name, used := range uses {
			if marked[name] {
				continue
			}
			for u := range used {
				if marked[u] {
					marked[name], changed = true, true
					break
				}
			}
		}
	}
}

// shortScripts returns the names of the scripts below a package's directory that do less with -short.
func shortScripts(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "testdata", "script", "*.txt"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if shortScript.Match(text) {
			names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
		}
	}
	return slices.Sorted(slices.Values(names)), nil
}
