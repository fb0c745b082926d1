package emit

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// ClientFile is what the file is called that has the client half of a service or worker in another package.
func ClientFile(name string) string { return "af_" + name + "_gen.go" }

// Clients returns the files that belong into the client package c: one for each name that a service or worker has among
// those of from whose client half goes there (one more if only one of the two is behind a build constraint), sorted by
// file name. Where c is an annotated package itself it has to be
// among from, too, so that no name is declared twice. No two packages may have one file's name; scan sees to that. An
// error means that from isn't what package scan makes, or a bug in this package.
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

// allocateClients decides the identifiers of all files of a client package, by file name: package level is common to
// them, and only then each chooses what it imports by.
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

// clientHalves returns, by file name, what of p belongs into c, as packages at c's place.
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

// constraintOf returns the constraint of client halves, which all have the same.
func constraintOf(p *ir.Package) string {
	for _, s := range p.Services {
		return s.ClientConstraint
	}
	return p.Workers[0].ClientConstraint
}

// generatedFrom says where the other half is.
func (w *writer) generatedFrom() declaration {
	return declaration{comment("Generated from %s, where the server's half is.", w.origin.Path)}
}

var generatedFrom = regexp.MustCompile(`(?m)^// Generated from (\S+), where the server's half is\.\r?$`)

// Origin returns the import path of the package that a file made by [Clients] was generated from; "" for other content.
func Origin(content []byte) string {
	m := generatedFrom.FindSubmatch(content)
	if m == nil || !hasHeader(content) {
		return ""
	}
	return string(m[1])
}

// original spells an annotated type as people would beside this file.
func (w *writer) original(typ string) string {
	if w.origin == nil {
		return typ
	}
	return w.origin.Name + "." + typ
}
