package scan

import (
	"go/ast"
	"go/token"
	"slices"
)

// A level is how much of a declaration is needed.
type level int

const (
	// nameOnly: that there is such a type. Of a service it is all that matters: its fields don't travel.
	nameOnly level = iota + 1
	// whole: what it is made of, too.
	whole
)

// needSignatures asks for all that the signatures of a package's annotated types mention.
func (w *loader) needSignatures(u *unit) {
	for _, t := range u.types {
		if t.broken {
			continue
		}
		w.needName(u, t.name(), nameOnly)
		for _, m := range t.methods {
			if !m.skip && (!t.isWorker() || isWorkerMethod(m.decl)) {
				w.needSignature(u, m.decl)
				path := u.receiverPath(m.decl)
				for _, alias := range path[:len(path)-1] {
					u.need[alias] = whole // and not what the service is made of
				}
			}
		}
	}
}

// isWorkerMethod reports whether afgen cares for a worker's method.
func isWorkerMethod(d *ast.FuncDecl) bool {
	return d.Name.Name == "Run" || d.Name.Name == "SubtasksDone"
}

func (w *loader) needSignature(u *unit, d *ast.FuncDecl) {
	i := slices.IndexFunc(u.files, func(f *file) bool {
		return f.ast.FileStart <= d.Pos() && d.Pos() < f.ast.FileEnd
	})
	u.at = d.Name.Pos()
	u.ranges = append(u.ranges, d.Type)
	w.needNode(u, u.files[i], d.Type)
}

// needName asks for a package-level name of a package, and through it for all that its declaration mentions.
func (w *loader) needName(u *unit, name string, l level) {
	d := u.names[name]
	if d == nil || u.need[name] >= l {
		return
	}
	u.need[name] = l
	if l == nameOnly {
		return
	}
	switch s := d.spec.(type) {
	case *ast.TypeSpec:
		u.ranges = append(u.ranges, s)
		if s.TypeParams != nil {
			w.needNode(u, d.file, s.TypeParams)
		}
		w.needNode(u, d.file, s.Type)
	case *ast.ValueSpec:
		specs := []ast.Spec{s}
		if d.gen.Tok == token.CONST {
			specs = d.gen.Specs // a constant may repeat the expression of one before it
		}
		for _, s := range specs {
			u.ranges = append(u.ranges, s)
			w.needNode(u, d.file, s)
		}
	}
}

// needFrom asks for a name of another package.
func (w *loader) needFrom(u *unit, path, name string) {
	u.imports[path] = true
	dep := w.units[path]
	if dep == nil || path == "unsafe" {
		return
	}
	w.parse(dep, depMode(dep))
	l := whole
	if path == "context" {
		l = nameOnly // a context is never sent, and what it is made of would only cost time
	}
	w.needName(dep, name, l)
}

// needNode asks for every name that a piece of a declaration uses. It asks too often rather than too rarely: a type
// parameter may have the name of a type.
func (w *loader) needNode(u *unit, f *file, n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			w.needNode(u, f, n.Type)
			return false
		case *ast.Field:
			w.needNode(u, f, n.Type)
			return false
		case *ast.ValueSpec:
			for _, e := range n.Values {
				w.needNode(u, f, e)
			}
			if n.Type != nil {
				w.needNode(u, f, n.Type)
			}
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if path, ok := f.imports[x.Name]; ok {
					w.needFrom(u, path, n.Sel.Name)
					return false
				}
			}
			w.needNode(u, f, n.X)
			return false
		case *ast.Ident:
			if u.names[n.Name] != nil {
				w.needName(u, n.Name, whole)
				return false
			}
			for _, path := range f.dots {
				w.needFrom(u, path, n.Name)
			}
		}
		return true
	})
}
