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

// clientOf is the package that the client half of a type goes into; "" for its own.
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

// A clientUnit is a package that client halves go into: its directory, its name, and what is taken there.
type clientUnit struct {
	*unit
	fault    string                // why it can't have any; then the others are empty
	files    map[string]*annotated // whose client half each file has, by its name in lower case
	declared map[string]*annotated
}

// clients finds the packages that client halves go into, and reports what keeps them from it.
func (sc *scanner) clients(units []*unit, pkgs []Package) []Client {
	found := map[string]*clientUnit{}
	for _, u := range slices.SortedFunc(slices.Values(units), func(a, b *unit) int { return cmp.Compare(a.Pkg.PkgPath, b.Pkg.PkgPath) }) {
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
				Path: to, Name: c.Pkg.Name, Taken: slices.Sorted(maps.Keys(c.Taken)), ImportNames: slices.Sorted(maps.Keys(c.ImportNames)),
			}})
		}
	}
	return all
}

// clientProblem reports at the value of client=.
func (sc *scanner) clientProblem(t *annotated, code diag.Code, message, hint string) {
	a, _ := t.directive.Arg("client")
	sc.reportValue(a, code, message, hint)
}

// clientUnit looks at the directory of a client package.
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

// handwritten lists the Go files of a directory that the go command reads and afgen has not written.
func (sc *scanner) handwritten(dir string) []string {
	entries, _ := os.ReadDir(dir) // a directory that isn't there has no files
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

// clientName is what a client package is called: as its files say, else as its path suggests. The second result says
// what is wrong with that.
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
			return "", "is a program, which nothing can import"
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
		return "", fmt.Sprintf("does not suggest a name for the package, and %s has no Go file that says one", path.Base(to))
	}
	return base, ""
}

func isMajorVersion(element string) bool {
	return len(element) > 1 && element[0] == 'v' && strings.Trim(element[1:], "0123456789") == ""
}

// clientHint proposes a package next to the service's.
func clientHint(u *unit) string {
	if m := u.Pkg.Module; m != nil {
		return "name a package of module " + m.Path + ", such as " + path.Join(u.Pkg.PkgPath, "client")
	}
	return "name a package of the module"
}

// checkClientFile demands that a client half has a file for itself, on every file system.
func (sc *scanner) checkClientFile(u *unit, t *annotated, c *clientUnit) {
	name := sc.config.ClientFile(nameOf(t))
	key := strings.ToLower(name)
	if other := c.files[key]; other != nil && (!slices.Contains(u.types, other) || nameOf(other) != nameOf(t)) {
		sc.clientProblem(t, diag.ClientPackage, fmt.Sprintf("the client halves of %s and %s would both be %s", sc.seenFrom(t, other), t.name(), name),
			"give one of them another name by name=…, or another package")
		return
	}
	c.files[key] = t
	file := filepath.Join(c.Pkg.Dir, name)
	if content, err := os.ReadFile(file); err == nil && !sc.config.Generated(name, content) {
		sc.Sources[file] = content
		sc.Report(token.Position{Filename: file, Line: 1, Column: 1}, 1, diag.FileInTheWay, name+" exists and afgen didn't write it",
			"afgen needs this name: rename the file, or remove it")
	}
}

// checkClientTypes looks at the types that client halves would mention.
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

// checkClientMentions looks at what one method would make the client half of t mention.
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
				report(fmt.Sprintf("%s is of the service's own package, which clients in %s must not link", m.Name, to),
					fmt.Sprintf("move %s to %s, or to another package that both sides import; or leave out client=", m.Name, to))
			case m.Kind == ir.Named && m.Path != to && !mayImport(to, m.Path):
				report(fmt.Sprintf("%s is of the internal package %s, which %s may not import", m.Name, m.Path, to),
					"move it to where both sides can import it")
			case m.Kind == ir.Named && m.Path != to:
				if way := sc.importWay(m.Path, to, leadsNot); way != nil {
					sc.clientProblem(t, diag.ClientCycle, fmt.Sprintf("%s would import itself: by %s of %s, through %s", to, m.Name, method, strings.Join(way, ", ")),
						"move "+m.Name+" to a package that does not import the client's, or name another package for the client")
				}
			case m.Kind == ir.Struct && slices.ContainsFunc(m.Fields, func(f ir.Field) bool { return !token.IsExported(f.Name) }):
				report("a struct without a name has unexported fields, and elsewhere it would be another type", "give it a name, in a package that both sides import")
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

// notLeading returns the packages that are known not to lead to a client package.
func (sc *scanner) notLeading(to string) map[string]bool {
	if sc.leadsNot[to] == nil {
		sc.leadsNot[to] = map[string]bool{}
	}
	return sc.leadsNot[to]
}

// importWay returns the packages by which one imports another, both included; nil if it doesn't. It keeps in leadsNot
// those of which that is known.
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

// writes reports whether a file of a package that afgen has not written imports a path. Earlier output is replaced, so
// what only it imports keeps nothing from being generated.
func (sc *scanner) writes(u *load.Unit, importPath string) bool {
	for _, name := range u.Pkg.GoFiles {
		src, err := os.ReadFile(name)
		if err != nil || sc.config.Generated(filepath.Base(name), src) {
			continue
		}
		tree, _ := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if tree != nil && slices.ContainsFunc(tree.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == strconv.Quote(importPath) }) {
			return true
		}
	}
	return false
}
