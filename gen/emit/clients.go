package emit

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/ir"
)

// ClientFile returns the name of the file for the client half of a service or worker in another package.
func ClientFile(name string) string { return "af_" + name + "_gen.go" }

// Clients returns the files for the client package c, sorted by file name. Each contains the client halves in c of the
// services and workers with one name and one build constraint. If c is annotated itself, it must be in from, so that no
// name is declared twice. Package scan guarantees that no two packages use the same file name. An error means that from
// is not the output of package scan, or that this package has a bug.
func Clients(c ir.Client, from []*ir.Package) (files []File, err error) {
	defer func() {
		if r := recover(); r != nil {
			files, err = nil, fmt.Errorf("emit %s: %v", c.Path, r)
		}
	}()
	plans, err := allocateClients(c, from)
	if err != nil {
		return nil, fmt.Errorf("emit %s: %w", c.Path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		content, err := plans[name].source()
		if err != nil {
			return nil, fmt.Errorf("emit %s: %w", c.Path, err)
		}
		files = append(files, File{name, content})
	}
	return files, nil
}

// allocateClients chooses the identifiers of all files of a client package, by file name. The files share the package
// level, so each chooses its import names after all declarations have names.
func allocateClients(c ir.Client, from []*ir.Package) (map[string]*plan, error) {
	from = slices.SortedFunc(slices.Values(from), func(a, b *ir.Package) int { return cmp.Compare(a.Path, b.Path) })
	n := newNames(c.Taken, c.ImportNames)
	for _, p := range from {
		if p.Path == c.Path {
			if _, err := allocateNames(p, n, bothSides); err != nil {
				return nil, err
			}
		}
	}
	plans := map[string]*plan{}
	for _, p := range from {
		halves := clientHalves(c, p)
		for _, file := range slices.Sorted(maps.Keys(halves)) {
			a, err := allocateNames(halves[file], n, clientSide)
			if err != nil {
				return nil, err
			}
			a.origin = p
			a.contract = contract.Of(halves[file])
			a.constraint = constraintOf(halves[file])
			plans[file] = a
		}
	}
	for _, a := range plans {
		if err := a.allocateImports(maps.Clone(n.taken)); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

// clientHalves returns, by file name, the parts of p that belong to c, as packages with the path of c.
func clientHalves(c ir.Client, p *ir.Package) map[string]*ir.Package {
	halves := map[string]*ir.Package{}
	half := func(name, constraint string) *ir.Package {
		file := ClientFile(name)
		if constraint != "" {
			file = strings.TrimSuffix(file, "_gen.go") + "_" + digits(constraint) + "_gen.go"
		}
		if halves[file] == nil {
			halves[file] = &ir.Package{Path: c.Path, Name: c.Name, Defs: p.Defs, Imports: p.Imports}
		}
		return halves[file]
	}
	for _, s := range p.Services {
		if s.Client == c.Path {
			h := half(s.Name, s.ClientConstraint)
			h.Services = append(h.Services, s)
		}
	}
	for _, w := range p.Workers {
		if w.Client == c.Path {
			h := half(w.Name, w.ClientConstraint)
			h.Workers = append(h.Workers, w)
		}
	}
	return halves
}

// constraintOf returns the constraint that all client halves of p have.
func constraintOf(p *ir.Package) string {
	for _, s := range p.Services {
		return s.ClientConstraint
	}
	return p.Workers[0].ClientConstraint
}

// generatedFrom returns a comment with the package of the server half. [Origin] parses it.
func (w *writer) generatedFrom() declaration {
	return declaration{comment("Generated from %s, where the server's half is.", w.origin.Path)}
}

var generatedFrom = regexp.MustCompile(`(?m)^// Generated from (\S+), where the server's half is\.\r?$`)

// Origin returns the import path of the package from which [Clients] generated a file, or "" for other content.
func Origin(content []byte) string {
	m := generatedFrom.FindSubmatch(content)
	if m == nil || !hasHeader(content) {
		return ""
	}
	return string(m[1])
}

// original returns the name of an annotated type for a comment in this file.
func (w *writer) original(typ string) string {
	if w.origin == nil {
		return typ
	}
	return w.origin.Name + "." + typ
}
