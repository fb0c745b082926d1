package load

import (
	"go/ast"
	"go/token"
	"iter"
)

// A level is the part of a declaration that is needed.
type level int

const (
	nameOnly level = iota + 1 // the type exists; its definition doesn't matter
	whole
)

// NeedMethod marks a method, and everything that its signature mentions, as needed.
func (l *Loader) NeedMethod(u *Unit, d *ast.FuncDecl) {
	u.at = d.Name.Pos()
	u.ranges = append(u.ranges, d.Type)
	l.needNode(u, u.FileAt(d.Pos()), d.Type)
	path := u.receiverPath(d)
	for _, alias := range path[:len(path)-1] {
		u.need[alias] = whole // but not the definition of the receiver's type
	}
	l.Keep(u, d)
}

// Keep marks a method as needed without reporting errors in its signature.
func (l *Loader) Keep(u *Unit, d *ast.FuncDecl) { u.kept[d] = true }

// NeedName marks the name of a type as needed, but not its definition.
func (l *Loader) NeedName(u *Unit, name string) { l.needName(u, name, nameOnly) }

// Needed returns the types and values of a package whose declarations are needed, in no particular order.
func (u *Unit) Needed() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name, n := range u.need {
			if n == whole && !yield(name) {
				return
			}
		}
	}
}

// needName marks a package-level name as needed, and if its declaration is, everything that this mentions.
func (l *Loader) needName(u *Unit, name string, much level) {
	d := u.Names[name]
	if d == nil || u.need[name] >= much {
		return
	}
	u.need[name] = much
	if much == nameOnly {
		return
	}
	switch s := d.Spec.(type) {
	case *ast.TypeSpec:
		u.ranges = append(u.ranges, s)
		if s.TypeParams != nil {
			l.needNode(u, d.File, s.TypeParams)
		}
		l.needNode(u, d.File, s.Type)
	case *ast.ValueSpec:
		specs := []ast.Spec{s}
		if d.Gen.Tok == token.CONST {
			specs = d.Gen.Specs // a constant may repeat an earlier expression
		}
		for _, s := range specs {
			u.ranges = append(u.ranges, s)
			l.needNode(u, d.File, s)
		}
	}
}

// needFrom marks a name of another package as needed.
func (l *Loader) needFrom(u *Unit, path, name string) {
	u.imports[path] = true
	dep := l.units[path]
	if dep == nil || path == "unsafe" {
		return
	}
	l.parse(dep, depMode(dep))
	much := whole
	if path == "context" {
		much = nameOnly // a context is never sent
	}
	l.needName(dep, name, much)
}

// needNode marks the names in a part of a declaration as needed. It may mark too many, since a type parameter may have
// the name of a type.
func (l *Loader) needNode(u *Unit, f *File, n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			l.needNode(u, f, n.Type)
			return false
		case *ast.Field:
			l.needNode(u, f, n.Type)
			return false
		case *ast.ValueSpec:
			for _, e := range n.Values {
				l.needNode(u, f, e)
			}
			if n.Type != nil {
				l.needNode(u, f, n.Type)
			}
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if path, ok := f.Imports[x.Name]; ok {
					l.needFrom(u, path, n.Sel.Name)
					return false
				}
			}
			l.needNode(u, f, n.X)
			return false
		case *ast.Ident:
			if u.Names[n.Name] != nil {
				l.needName(u, n.Name, whole)
				return false
			}
			for _, path := range f.dots {
				l.needFrom(u, path, n.Name)
			}
		}
		return true
	})
}
