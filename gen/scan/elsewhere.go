package scan

import (
	"context"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"os"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/scan/internal/buildtag"
	"github.com/afgen/afgen/gen/scan/internal/load"
)

// An excluded is an annotated file that build constraints exclude on this system.
type excluded struct {
	unit       *unit
	file       string
	constraint constraint.Expr
	types      []string // annotated types
}

// A Kept is an annotated file that can't be analyzed, because its build constraint is not satisfied on any system that
// the go command knows. Its generated output is kept.
type Kept struct {
	File    string
	Dir     string
	Package string   // the import path
	Types   []string // annotated types
	Ignored bool     // the file has the build tag ignore, which excludes it from every build
}

// A hidden is a method in a file that build constraints exclude.
type hidden struct {
	base       string // the receiver's type
	fn         *ast.FuncDecl
	constraint constraint.Expr
}

// exclude records the methods and annotated types that an excluded file declares.
func (sc *scanner) exclude(u *unit, name string, src []byte) {
	tree, _ := parser.ParseFile(sc.Fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if tree == nil {
		return
	}
	importsC := slices.ContainsFunc(tree.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"C"` })
	x := buildtag.Of(name, src, importsC)
	if (u.Pkg.Name == "" || u.Pkg.Name == tree.Name.Name) && !buildtag.Ignored(x) {
		for _, d := range tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.IsExported() && len(fn.Recv.List) == 1 {
				u.hidden = append(u.hidden, hidden{load.BaseName(fn.Recv.List[0].Type), fn, x})
			}
		}
	}
	if !annotates(src) {
		return
	}
	if u.Pkg.Name != "" && u.Pkg.Name != tree.Name.Name {
		sc.skipped = append(sc.skipped, Skipped{name, "excluded by build constraints, and in another package"})
		return
	}
	var types []string
	for doc, n := range ownersOf(tree) {
		if n.spec != nil && (hasDirective(doc, "rpc") || hasDirective(doc, "worker")) {
			types = append(types, n.spec.Name.Name)
		}
	}
	slices.Sort(types)
	sc.excluded = append(sc.excluded, excluded{u, name, x, types})
}

// hasDirective reports whether a comment has a directive.
func hasDirective(doc *ast.CommentGroup, name string) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		d, is, _ := directive.Scan(c.Text, diag.Pos{Line: 1, Column: 1})
		return is && d != nil && d.Name == name
	})
}

// loadOthers scans the annotated files that are excluded here on systems that include them. It uses the nearest
// systems, and as few as possible. It returns a scanner for each.
func (sc *scanner) loadOthers(ctx context.Context) ([]*scanner, error) {
	if len(sc.excluded) == 0 {
		return nil, nil
	}
	here, err := buildtag.Current(ctx, sc.config.Dir, sc.config.Env, sc.config.Tags)
	if err != nil {
		return nil, err
	}
	var systems []buildtag.System
	files := map[string][]excluded{} // by the system's key
	for _, e := range sc.excluded {
		i := slices.IndexFunc(systems, func(s buildtag.System) bool { return s.Satisfies(e.constraint) })
		if i < 0 {
			s, ok := here.Nearest(e.constraint)
			if !ok {
				sc.keepFile(e)
				continue
			}
			i, systems = len(systems), append(systems, s)
		}
		key := systems[i].String()
		files[key] = append(files[key], e)
	}
	var others []*scanner
	for _, s := range systems {
		o, err := sc.loadOn(ctx, s, files[s.String()])
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", s, err)
		}
		others = append(others, o)
	}
	return others, nil
}

// keepFile records a file that can't be analyzed.
func (sc *scanner) keepFile(e excluded) {
	reason := "this go command knows no system that satisfies its build constraint " + buildtag.String(e.constraint)
	sc.skipped = append(sc.skipped, Skipped{e.file, reason})
	if len(e.types) > 0 {
		sc.kept = append(sc.kept, Kept{
			File: e.file, Dir: e.unit.Pkg.Dir, Package: e.unit.Pkg.PkgPath, Types: e.types,
			Ignored: buildtag.Ignored(e.constraint),
		})
	}
}

// loadOn scans files on another system.
func (sc *scanner) loadOn(ctx context.Context, s buildtag.System, files []excluded) (*scanner, error) {
	cfg := sc.config
	cfg.Env, cfg.Tags = s.Env(cfg.Env), s.Tags()
	o := newScanner(cfg, sc.Loader, true)
	var dirs []string
	wanted := map[string]bool{}
	for _, e := range files {
		wanted[e.file] = true
		if !slices.Contains(dirs, e.unit.Pkg.Dir) {
			dirs = append(dirs, e.unit.Pkg.Dir)
		}
	}
	roots, err := o.load(ctx, dirs, nil)
	if err != nil {
		return nil, err
	}
	for _, u := range roots {
		for _, e := range files {
			if e.unit.Pkg.Dir == u.Pkg.Dir && slices.Contains(u.Pkg.IgnoredFiles, e.file) {
				sc.keepFile(e)
			}
		}
		if u.Broken {
			continue
		}
		o.Guard(u.Unit, func() { o.annotate(u) })
		u.types = slices.DeleteFunc(u.types, func(t *annotated) bool { return !wanted[t.file.Name] })
		if len(u.types) > 0 {
			o.annotated = append(o.annotated, u)
		}
	}
	return o, nil
}

// absorb adds the results and problems of another scanner.
func (sc *scanner) absorb(o *scanner) {
	sc.Adopt(o.Loader)
	for path, u := range o.roots {
		if sc.roots[path] == nil {
			sc.roots[path] = u
		}
	}
	sc.problems = append(sc.problems, o.problems...)
	sc.warnings = append(sc.warnings, o.warnings...)
}

// constraintOf returns the build constraint of a file.
func (sc *scanner) constraintOf(f *load.File) constraint.Expr {
	x, ok := sc.constraints[f.Name]
	if !ok {
		src, read := sc.Sources[f.Name]
		if !read {
			src, _ = os.ReadFile(f.Name) // it has been parsed
		}
		x = buildtag.Of(f.Name, src, slices.Contains(importsOf(f), "C"))
		sc.constraints[f.Name] = x
	}
	return x
}

func importsOf(f *load.File) (paths []string) {
	for _, s := range f.AST.Imports {
		paths = append(paths, strings.Trim(s.Path.Value, "\"`"))
	}
	return paths
}
