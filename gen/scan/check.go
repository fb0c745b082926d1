package scan

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"runtime"
	"slices"

	"github.com/afgen/afgen/gen/diag"
)

// A checkState keeps an import cycle from going round for ever.
type checkState int

const (
	unchecked checkState = iota
	checking
	done
)

// depMode is how a package is parsed that is only mentioned.
func depMode(u *unit) parser.Mode {
	if u.main {
		return parser.SkipObjectResolution | parser.AllErrors
	}
	return parser.SkipObjectResolution
}

// check type-checks what is needed of a package, and of those it mentions.
func (w *world) check(u *unit) *types.Package {
	if u.state != unchecked {
		return u.checked
	}
	u.state = checking
	u.defs = map[*ast.Ident]types.Object{}
	conf := types.Config{
		IgnoreFuncBodies: true,
		FakeImportC:      true,
		Importer:         importer{w, u},
		Sizes:            types.SizesFor("gc", w.goarch()),
		Error: func(err error) {
			if e, ok := errors.AsType[types.Error](err); ok {
				u.errs = append(u.errs, e)
			}
		},
	}
	if m := u.pkg.Module; m != nil && m.GoVersion != "" {
		conf.GoVersion = "go" + m.GoVersion
	}
	var files []*ast.File
	for _, f := range u.files {
		files = append(files, w.prune(u, f))
	}
	// The error is the first of those that went to conf.Error.
	u.checked, _ = conf.Check(u.pkg.PkgPath, w.fset, files, &types.Info{Defs: u.defs})
	u.state = done
	if u.main {
		w.reportTypeErrors(u)
	}
	return u.checked
}

// goarch is the architecture to generate for; it matters for the length of an array at most.
func (w *world) goarch() string {
	for _, kv := range slices.Backward(w.config.Env) {
		if arch, ok := cutEnv(kv, "GOARCH"); ok {
			return arch
		}
	}
	if arch := os.Getenv("GOARCH"); arch != "" && w.config.Env == nil {
		return arch
	}
	return runtime.GOARCH
}

func cutEnv(kv, key string) (string, bool) {
	if len(kv) > len(key)+1 && kv[:len(key)] == key && kv[len(key)] == '=' {
		return kv[len(key)+1:], true
	}
	return "", false
}

// An importer gives a unit the packages that its needed declarations mention; prune has removed all other imports.
type importer struct {
	w *world
	u *unit
}

func (i importer) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	dep := i.u.pkg.Imports[path]
	if dep == nil {
		return nil, fmt.Errorf("package %s is not listed", path)
	}
	u := i.w.units[dep.PkgPath]
	i.w.parse(u, depMode(u))
	if len(u.files) == 0 {
		if len(u.pkg.Errors) > 0 {
			return nil, errors.New(u.pkg.Errors[0].Msg)
		}
		return nil, fmt.Errorf("package %s has no Go files", path)
	}
	if p := i.w.check(u); p != nil {
		return p, nil
	}
	return nil, errors.New("import cycle")
}

// prune returns a file with nothing but the declarations that are needed.
func (w *world) prune(u *unit, f *file) *ast.File {
	pruned := *f.ast
	pruned.Decls = nil
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && u.keepMethod(d) {
				pruned.Decls = append(pruned.Decls, d)
			}
		case *ast.GenDecl:
			if d = u.pruneGen(d); d != nil {
				pruned.Decls = append(pruned.Decls, d)
			}
		}
	}
	return &pruned
}

// keepMethod says whether a method may matter: how its type marshals itself, or because it is remote.
func (u *unit) keepMethod(d *ast.FuncDecl) bool {
	switch d.Name.Name {
	case "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText":
		return u.need[receiver(d)] > 0
	}
	return slices.ContainsFunc(u.types, func(t *annotated) bool {
		return !t.broken && slices.ContainsFunc(t.methods, func(m *method) bool { return m.decl == d && !m.skip })
	})
}

// pruneGen returns a declaration with nothing but the specs that are needed; nil where none is.
func (u *unit) pruneGen(d *ast.GenDecl) *ast.GenDecl {
	pruned := *d
	pruned.Specs = nil
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.ImportSpec:
			if u.imports[u.resolve(s)] {
				pruned.Specs = append(pruned.Specs, s)
			}
		case *ast.TypeSpec:
			switch u.need[s.Name.Name] {
			case whole:
				pruned.Specs = append(pruned.Specs, s)
			case nameOnly:
				hollow := *s
				hollow.Type = &ast.StructType{Struct: s.Type.Pos(), Fields: &ast.FieldList{}}
				pruned.Specs = append(pruned.Specs, &hollow)
			}
		case *ast.ValueSpec:
			if slices.ContainsFunc(s.Names, func(id *ast.Ident) bool { return u.need[id.Name] == whole }) {
				if d.Tok == token.CONST {
					return d
				}
				pruned.Specs = append(pruned.Specs, s)
			}
		}
	}
	if len(pruned.Specs) == 0 {
		return nil
	}
	return &pruned
}

// reportTypeErrors reports the mistakes in what is needed. There are others, in methods that nobody asked for: those
// are the compiler's.
func (w *world) reportTypeErrors(u *unit) {
	for _, e := range u.errs {
		inside := slices.ContainsFunc(u.ranges, func(n ast.Node) bool { return n.Pos() <= e.Pos && e.Pos < n.End() })
		for _, f := range u.files {
			for _, spec := range f.ast.Imports {
				inside = inside || u.imports[u.resolve(spec)] && spec.Pos() <= e.Pos && e.Pos < spec.End()
			}
		}
		if inside && !e.Soft {
			w.report(u, w.fset.PositionFor(e.Pos, false), 1, diag.TypeError, e.Msg, "")
		}
	}
}
