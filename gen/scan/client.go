package scan

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/scan/internal/load"
	"github.com/afgen/afgen/gen/scan/internal/pattern"
)

// clientOf returns the package of the client half of a type, or "" for the type's own package.
func clientOf(u *unit, t *annotated) string {
	client := t.rpc.Client
	if t.isWorker() {
		client = t.worker.Client
	}
	if client == u.Pkg.PkgPath {
		return ""
	}
	return client
}

// A clientUnit is a package for client halves, with the names that it uses.
type clientUnit struct {
	*unit
	fault    string                // why it can't be written; if set, the other fields are empty
	files    map[string]*annotated // the type whose client half a file contains, by file name in lower case
	declared map[string]*annotated
}

// clients returns the packages for client halves, and reports those that can't be written.
func (sc *scanner) clients(units []*unit, pkgs []Package) []Client {
	found := map[string]*clientUnit{}
	byPath := func(a, b *unit) int { return cmp.Compare(a.Pkg.PkgPath, b.Pkg.PkgPath) }
	for _, u := range slices.SortedFunc(slices.Values(units), byPath) {
		for _, t := range u.types {
			to := clientOf(u, t)
			if to == "" || t.broken {
				continue
			}
			c := found[to]
			if c == nil {
				c = sc.clientUnit(units, to)
				found[to] = c
			}
			if c.fault != "" {
				sc.clientProblem(t, diag.ClientPackage, fmt.Sprintf("client=%s %s", to, c.fault), clientHint(u))
				continue
			}
			sc.checkClientFile(u, t, c)
			sc.checkDeclared(c.unit, t, clientNames(t), c.declared)
		}
	}
	sc.checkClientTypes(units, pkgs)
	var all []Client
	for _, to := range slices.Sorted(maps.Keys(found)) {
		if c := found[to]; c.fault == "" {
			all = append(all, Client{Dir: c.Pkg.Dir, IR: ir.Client{
				Path: to, Name: c.Pkg.Name,
				Taken: slices.Sorted(maps.Keys(c.Taken)), ImportNames: slices.Sorted(maps.Keys(c.ImportNames)),
			}})
		}
	}
	return all
}

// clientProblem reports a problem at the value of client=.
func (sc *scanner) clientProblem(t *annotated, code diag.Code, message, hint string) {
	a, _ := t.directive.Arg("client")
	sc.reportValue(a, code, message, hint)
}

// clientUnit examines the directory of a client package.
func (sc *scanner) clientUnit(units []*unit, to string) *clientUnit {
	dir, fault := sc.DirOfPackage(to)
	name := ""
	if fault == "" {
		if _, _, err := sc.Inside(sc.links, dir); err != nil {
			fault = fmt.Sprintf("is at %s: %v", filepath.ToSlash(pattern.Relative(sc.config.Dir, dir)), err)
		}
	}
	if fault == "" {
		name, fault = sc.clientName(to, dir)
	}
	c := &clientUnit{fault: fault, files: map[string]*annotated{}, declared: map[string]*annotated{}}
	if fault != "" {
		return c
	}
	i := slices.IndexFunc(units, func(u *unit) bool { return u.Pkg.PkgPath == to })
	if i >= 0 {
		c.unit = units[i]
		for _, t := range c.types {
			for _, name := range ownNames(c.unit, t) {
				c.declared[name] = t
			}
		}
		return c
	}
	c.unit = &unit{Unit: load.NewUnit(to, name, dir)}
	if listed := sc.Unit(to); listed != nil {
		c.Pkg.Imports = listed.Pkg.Imports
	}
	for _, name := range sc.handwritten(dir) {
		tree, _ := parser.ParseFile(sc.Fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if tree != nil && tree.Name.Name == c.Pkg.Name {
			sc.TakeNames(c.Unit, tree)
		}
	}
	return c
}

// handwritten returns the names of the Go files in a directory that the go command reads and afgen didn't generate.
func (sc *scanner) handwritten(dir string) []string {
	entries, _ := os.ReadDir(dir) // a missing directory has no files
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
			continue
		}
		if content, err := os.ReadFile(filepath.Join(dir, name)); err == nil && !sc.config.Generated(name, content) {
			names = append(names, name)
		}
	}
	return names
}

// clientName returns the name of a client package, from its files or its path. why is the reason if that isn't
// possible.
func (sc *scanner) clientName(to, dir string) (name, why string) {
	ignored := []string{}
	for _, file := range sc.handwritten(dir) {
		tree, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, parser.PackageClauseOnly)
		if err != nil {
			continue
		}
		name := tree.Name.Name
		if strings.HasSuffix(file, "_test.go") {
			name = strings.TrimSuffix(name, "_test")
		}
		if ok, err := build.Default.MatchFile(dir, file); err != nil || !ok {
			ignored = append(ignored, name)
			continue
		}
		if name == "main" {
			return "", "is a program, which can't be imported"
		}
		return name, ""
	}
	ignored = slices.DeleteFunc(ignored, func(name string) bool { return name == "main" })
	if len(ignored) > 0 {
		return ignored[0], ""
	}
	base := path.Base(to)
	if isMajorVersion(base) {
		base = path.Base(path.Dir(to))
	}
	base = strings.TrimPrefix(strings.TrimSuffix(base, "-go"), "go-")
	base = strings.NewReplacer("-", "", ".", "", "~", "", "+", "").Replace(base)
	if !token.IsIdentifier(base) || base == "main" || base == "_" {
		return "", fmt.Sprintf("doesn't end in a valid package name, and %s has no Go file with a package clause",
			path.Base(to))
	}
	return base, ""
}

func isMajorVersion(element string) bool {
	return len(element) > 1 && element[0] == 'v' && strings.Trim(element[1:], "0123456789") == ""
}

// clientHint suggests a package next to the service's.
func clientHint(u *unit) string {
	if m := u.Pkg.Module; m != nil {
		return "choose a package of module " + m.Path + ", such as " + path.Join(u.Pkg.PkgPath, "client")
	}
	return "choose a package of the module"
}

// checkClientFile reports a client half whose file name is already used, also by a name that differs only in case.
func (sc *scanner) checkClientFile(u *unit, t *annotated, c *clientUnit) {
	name := sc.config.ClientFile(nameOf(t))
	key := strings.ToLower(name)
	if other := c.files[key]; other != nil && (!slices.Contains(u.types, other) || nameOf(other) != nameOf(t)) {
		sc.clientProblem(t, diag.ClientPackage,
			fmt.Sprintf("the client halves of %s and %s would both be in %s", sc.seenFrom(t, other), t.name(), name),
			"give one of them another name with name=…, or another client package")
		return
	}
	c.files[key] = t
	file := filepath.Join(c.Pkg.Dir, name)
	if content, err := os.ReadFile(file); err == nil && !sc.config.Generated(name, content) {
		sc.Sources[file] = content
		sc.reportFileInTheWay(file)
	}
}

// checkClientTypes reports types that client halves can't mention.
func (sc *scanner) checkClientTypes(units []*unit, pkgs []Package) {
	for _, p := range pkgs {
		u := units[slices.IndexFunc(units, func(u *unit) bool { return u.Pkg.PkgPath == p.IR.Path })]
		for _, s := range p.IR.Services {
			t := u.annotated(s.Type)
			for _, m := range s.Methods {
				sc.checkClientMentions(u, t, m.GoName, slices.Concat(typesOf(m.Params), typesOf(m.Results)))
			}
		}
		for _, k := range p.IR.Workers {
			mentioned := []ir.Type{k.Payload}
			if k.Result != nil {
				mentioned = append(mentioned, *k.Result)
			}
			sc.checkClientMentions(u, u.annotated(k.Type), "Run", mentioned)
		}
	}
}

func (u *unit) annotated(name string) *annotated {
	return u.types[slices.IndexFunc(u.types, func(t *annotated) bool { return t.name() == name })]
}

func typesOf(params []ir.Param) []ir.Type {
	var all []ir.Type
	for _, p := range params {
		all = append(all, p.Type)
	}
	return all
}

// checkClientMentions reports types of one method that the client half of t can't mention.
func (sc *scanner) checkClientMentions(u *unit, t *annotated, method string, mentioned []ir.Type) {
	to := clientOf(u, t)
	if to == "" {
		return
	}
	report := func(message, hint string) {
		sc.ReportAt(t.methodNamed(method).Name, diag.ClientType, method+": "+message, hint)
	}
	leadsNot := sc.notLeading(to)
	reported := map[string]bool{}
	for _, m := range mentioned {
		m.Walk(func(m ir.Type) {
			switch {
			case reported[m.ID()]:
				return
			case m.Kind == ir.Named && m.Path == u.Pkg.PkgPath:
				report(fmt.Sprintf("%s is in the service's package, which clients in %s must not link", m.Name, to),
					fmt.Sprintf("move %s to %s or another package that both sides import, or remove client=", m.Name, to))
			case m.Kind == ir.Named && m.Path != to && !mayImport(to, m.Path):
				report(fmt.Sprintf("%s is in the internal package %s, which %s may not import", m.Name, m.Path, to),
					"move it to a package that both sides can import")
			case m.Kind == ir.Named && m.Path != to:
				if way := sc.importWay(m.Path, to, leadsNot); way != nil {
					sc.clientProblem(t, diag.ClientCycle,
						fmt.Sprintf("%s would import itself because of %s in %s: %s", to, m.Name, method, strings.Join(way, " → ")),
						"move "+m.Name+" to a package that doesn't import the client package, or choose another client package")
				}
			case m.Kind == ir.Struct &&
				slices.ContainsFunc(m.Fields, func(f ir.Field) bool { return !token.IsExported(f.Name) }):
				report("an anonymous struct has unexported fields, so it is another type in another package",
					"declare it as a type in a package that both sides import")
			}
			reported[m.ID()] = true
		})
	}
}

// mayImport reports whether Go's rule of internal packages lets a package import another.
func mayImport(from, path string) bool {
	elements := strings.Split(path, "/")
	for i, e := range elements {
		if e == "internal" {
			parent := strings.Join(elements[:i], "/")
			return from == parent || strings.HasPrefix(from, parent+"/")
		}
	}
	return true
}

// notLeading returns the packages that are known not to import a client package.
func (sc *scanner) notLeading(to string) map[string]bool {
	if sc.leadsNot[to] == nil {
		sc.leadsNot[to] = map[string]bool{}
	}
	return sc.leadsNot[to]
}

// importWay returns the import path from one package to another, including both, or nil. It adds packages that don't
// import the other to leadsNot.
func (sc *scanner) importWay(from, to string, leadsNot map[string]bool) []string {
	if from == to {
		return []string{to}
	}
	u := sc.Unit(from)
	if u == nil || leadsNot[from] {
		return nil
	}
	leadsNot[from] = true
	for _, written := range slices.Sorted(maps.Keys(u.Pkg.Imports)) {
		way := sc.importWay(u.Pkg.Imports[written].PkgPath, to, leadsNot)
		if way != nil && (!u.Main || sc.writes(u, written)) {
			delete(leadsNot, from)
			return append([]string{from}, way...)
		}
	}
	return nil
}

// writes reports whether a file that afgen didn't generate imports a path. Imports of generated files don't count,
// since those files are replaced.
func (sc *scanner) writes(u *load.Unit, importPath string) bool {
	for _, name := range u.Pkg.GoFiles {
		src, err := os.ReadFile(name)
		if err != nil || sc.config.Generated(filepath.Base(name), src) {
			continue
		}
		tree, _ := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		isImport := func(s *ast.ImportSpec) bool { return s.Path.Value == strconv.Quote(importPath) }
		if tree != nil && slices.ContainsFunc(tree.Imports, isImport) {
			return true
		}
	}
	return false
}
