package scan

import (
	"context"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/scan/internal/buildtag"
)

// An excluded is an annotated file that build constraints exclude on the system of this run.
type excluded struct {
	unit       *unit
	file       string
	constraint constraint.Expr
	types      []string // that are annotated
}

// A Kept is an annotated file that can't be analysed, because no system that this go command knows satisfies its build
// constraint. What has been generated for it stays as it is.
type Kept struct {
	File    string
	Dir     string
	Package string   // the import path
	Types   []string // that are annotated
	Ignored bool     // by the tag ignore, which is how files are excluded from every build
}

// A hidden is a method in a file that build constraints exclude.
type hidden struct {
	base       string // the receiver's type
	fn         *ast.FuncDecl
	constraint constraint.Expr
}

// exclude notes what an excluded file declares that other systems have.
func (w *loader) exclude(u *unit, name string, src []byte) {
	tree, _ := parser.ParseFile(w.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if tree == nil {
		return
	}
	importsC := slices.ContainsFunc(tree.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"C"` })
	x := buildtag.Of(name, src, importsC)
	if (u.pkg.Name == "" || u.pkg.Name == tree.Name.Name) && !buildtag.Ignored(x) {
		for _, d := range tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.IsExported() && len(fn.Recv.List) == 1 {
				u.hidden = append(u.hidden, hidden{baseName(fn.Recv.List[0].Type), fn, x})
			}
		}
	}
	if !annotates(src) {
		return
	}
	if u.pkg.Name != "" && u.pkg.Name != tree.Name.Name {
		w.skipped = append(w.skipped, Skipped{name, "excluded by build constraints, and of another package"})
		return
	}
	var types []string
	for doc, n := range ownersOf(tree) {
		if n.spec != nil && (hasDirective(doc, "rpc") || hasDirective(doc, "worker")) {
			types = append(types, n.spec.Name.Name)
		}
	}
	slices.Sort(types)
	w.excluded = append(w.excluded, excluded{u, name, x, types})
}

// hasDirective reports whether a comment has a directive.
func hasDirective(doc *ast.CommentGroup, name string) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		d, is, _ := directive.Scan(c.Text, diag.Pos{Line: 1, Column: 1})
		return is && d != nil && d.Name == name
	})
}

// loadOthers reads the annotated files that are excluded here, on systems that include them: the nearest each, and as few
// as possible. It returns what each such loader has annotated in these files.
func (w *loader) loadOthers(ctx context.Context) ([]*loader, error) {
	if len(w.excluded) == 0 {
		return nil, nil
	}
	here, err := buildtag.Current(ctx, w.config.Dir, w.config.Env, w.config.Tags)
	if err != nil {
		return nil, err
	}
	var systems []buildtag.System
	files := map[string][]excluded{} // by the system's key
	for _, e := range w.excluded {
		i := slices.IndexFunc(systems, func(s buildtag.System) bool { return s.Satisfies(e.constraint) })
		if i < 0 {
			s, ok := here.Nearest(e.constraint)
			if !ok {
				w.keepFile(e)
				continue
			}
			i, systems = len(systems), append(systems, s)
		}
		key := systems[i].String()
		files[key] = append(files[key], e)
	}
	var others []*loader
	for _, s := range systems {
		o, err := w.loadOn(ctx, s, files[s.String()])
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", s, err)
		}
		others = append(others, o)
	}
	return others, nil
}

// keepFile notes a file that can't be analysed.
func (w *loader) keepFile(e excluded) {
	reason := "no system that this go command knows satisfies its build constraint " + buildtag.String(e.constraint)
	w.skipped = append(w.skipped, Skipped{e.file, reason})
	if len(e.types) > 0 {
		w.kept = append(w.kept, Kept{File: e.file, Dir: e.unit.pkg.Dir, Package: e.unit.pkg.PkgPath, Types: e.types, Ignored: buildtag.Ignored(e.constraint)})
	}
}

// loadOn reads some files on another system.
func (w *loader) loadOn(ctx context.Context, s buildtag.System, files []excluded) (*loader, error) {
	cfg := w.config
	cfg.Env, cfg.Tags = s.Env(cfg.Env), s.Tags()
	o := newLoader(cfg)
	o.fset, o.sources, o.setsTags = w.fset, w.sources, true
	f := &found{}
	wanted := map[string]bool{}
	for _, e := range files {
		wanted[e.file] = true
		if !slices.Contains(f.dirs, e.unit.pkg.Dir) {
			f.dirs = append(f.dirs, e.unit.pkg.Dir)
		}
	}
	roots, err := o.load(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, u := range roots {
		for _, e := range files {
			if e.unit.pkg.Dir == u.pkg.Dir && slices.Contains(u.pkg.IgnoredFiles, e.file) {
				w.keepFile(e)
			}
		}
		if u.broken {
			continue
		}
		o.guard(u, func() { o.annotate(u) })
		u.types = slices.DeleteFunc(u.types, func(t *annotated) bool { return !wanted[t.file.name] })
		if len(u.types) > 0 {
			o.annotated = append(o.annotated, u)
		}
	}
	return o, nil
}

// absorb takes over what another loader has read and reported.
func (w *loader) absorb(o *loader) {
	for path, u := range o.units {
		if w.units[path] == nil {
			w.units[path] = u
		}
	}
	w.problems = append(w.problems, o.problems...)
	w.warnings = append(w.warnings, o.warnings...)
}

// constraintOf returns the build constraint of a file.
func (w *loader) constraintOf(f *file) constraint.Expr {
	x, ok := w.constraints[f.name]
	if !ok {
		src, read := w.sources[f.name]
		if !read {
			src, _ = os.ReadFile(f.name) // it has been parsed
		}
		x = buildtag.Of(f.name, src, slices.Contains(importsOf(f), "C"))
		w.constraints[f.name] = x
	}
	return x
}

func importsOf(f *file) (paths []string) {
	for _, s := range f.ast.Imports {
		paths = append(paths, strings.Trim(s.Path.Value, "\"`"))
	}
	return paths
}

// fileAt returns the file of a unit that a declaration is in.
func (u *unit) fileAt(pos token.Pos) *file {
	i := slices.IndexFunc(u.files, func(f *file) bool { return f.ast.FileStart <= pos && pos < f.ast.FileEnd })
	return u.files[i]
}
