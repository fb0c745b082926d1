package scan

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/types"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/scan/internal/buildtag"
)

// A part is the result of one scanner for one package.
type part struct {
	unit *unit
	pkg  Package
}

// analyzeAll runs the phases from need to analyze on the annotated units of a scanner.
func (sc *scanner) analyzeAll() (parts []part) {
	for _, u := range sc.annotated {
		sc.Guard(u.Unit, func() { sc.needSignatures(u) })
	}
	for _, u := range sc.annotated {
		sc.Guard(u.Unit, func() {
			sc.Check(u.Unit)
			pkg := Package{Dir: u.Pkg.Dir, IR: sc.analyze(u), Pos: u.types[0].directive.Pos, Places: sc.places(u)}
			for _, t := range u.types {
				if x := sc.constraintOf(t.file); x != nil {
					t.constraints = []constraint.Expr{x}
					t.confined = sc.confined(pkg.IR, t.name())
				} else {
					t.constraints = []constraint.Expr{nil}
				}
			}
			parts = append(parts, part{u, pkg})
		})
	}
	return parts
}

// confined reports whether the signatures of a type mention one that is declared behind a build constraint.
func (sc *scanner) confined(p *ir.Package, name string) (confined bool) {
	look := func(t ir.Type) {
		t.Walk(func(t ir.Type) {
			if u := sc.Unit(t.Path); t.Kind == ir.Named && u != nil && !confined {
				d := u.Names[t.Name]
				confined = d != nil && sc.constraintOf(d.File) != nil
			}
		})
	}
	for _, s := range p.Services {
		for _, m := range s.Methods {
			for _, q := range slices.Concat(m.Params, m.Results) {
				if s.Type == name {
					look(q.Type)
				}
			}
		}
	}
	for _, k := range p.Workers {
		if k.Type == name {
			look(k.Payload)
			if k.Result != nil {
				look(*k.Result)
			}
		}
	}
	return confined
}

// mergeParts joins the parts of each package, and sets the constraints of services and workers.
func (sc *scanner) mergeParts(parts []part) (units []*unit, pkgs []Package) {
	var merged []part
	for _, p := range parts {
		i := slices.IndexFunc(merged, func(m part) bool { return m.pkg.IR.Path == p.pkg.IR.Path })
		if i < 0 {
			merged = append(merged, p)
			continue
		}
		sc.joinPart(&merged[i], p)
	}
	for i := range merged {
		sc.setConstraints(&merged[i])
		sc.checkEverywhere(merged[i].unit, merged[i].pkg.IR)
		units, pkgs = append(units, merged[i].unit), append(pkgs, merged[i].pkg)
	}
	return units, pkgs
}

// joinPart adds the part of another system to a package. Types of both parts must be equal.
func (sc *scanner) joinPart(to *part, from part) {
	a, b := to.pkg.IR, from.pkg.IR
	for _, t := range from.unit.types {
		i := slices.IndexFunc(to.unit.types, func(o *annotated) bool { return o.name() == t.name() })
		if i < 0 {
			to.unit.types = append(to.unit.types, t)
			a.Services = append(a.Services, services(b, t.name())...)
			a.Workers = append(a.Workers, workers(b, t.name())...)
			continue
		}
		o := to.unit.types[i]
		alike := o.broken || t.broken || sameContract(a, b, t.name())
		constraints, confined := slices.Concat(o.constraints, t.constraints), o.confined || t.confined
		if t.file.Name < o.file.Name { // the first file wins on all systems
			for _, e := range entries(a, t.name()) {
				*e.doc = docText(docOf(t.gen, t.spec))
			}
			to.unit.types[i], t, o = t, o, t
		}
		o.constraints, o.confined = constraints, confined
		if !alike {
			sc.reportDirective(t.directive, diag.Differs,
				fmt.Sprintf("%s differs from its declaration at %s", t.name(), sc.place(sc.Position(o.spec.Pos()))),
				"a contract is the same on all systems: "+
					"give both the same options, methods, parameters and results, or different names")
		}
	}
	for id, def := range b.Defs {
		other, ok := a.Defs[id]
		path, _, _ := strings.Cut(id, "[")
		path = path[:strings.LastIndexByte(path, '.')]
		of := sc.Unit(path)
		if ok && !reflect.DeepEqual(def, other) && !(of != nil && of.Main) { // checkPayloads compares the user's types
			sc.reportDirective(from.unit.types[0].directive, diag.Differs,
				fmt.Sprintf("the JSON of %s differs between systems", id),
				"a contract is the same on all systems: use a type that is the same on all of them")
		}
		if a.Defs == nil {
			a.Defs = map[string]ir.Def{}
		}
		a.Defs[id] = def
	}
	if a.Imports == nil {
		a.Imports = b.Imports
	}
	maps.Copy(a.Imports, b.Imports)
	a.Taken = union(a.Taken, b.Taken)
	a.ImportNames = union(a.ImportNames, b.ImportNames)
	for name, at := range from.pkg.Places {
		if _, ok := to.pkg.Places[name]; !ok {
			to.pkg.Places[name] = at
		}
	}
	slices.SortFunc(to.unit.types, func(a, b *annotated) int { return strings.Compare(a.name(), b.name()) })
	slices.SortFunc(a.Services, func(a, b ir.Service) int { return strings.Compare(a.Type, b.Type) })
	slices.SortFunc(a.Workers, func(a, b ir.Worker) int { return strings.Compare(a.Type, b.Type) })
	to.pkg.Pos = to.unit.types[0].directive.Pos
}

func union(a, b []string) []string {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	return slices.Compact(all)
}

func services(p *ir.Package, name string) []ir.Service {
	return slices.DeleteFunc(slices.Clone(p.Services), func(s ir.Service) bool { return s.Type != name })
}

func workers(p *ir.Package, name string) []ir.Worker {
	return slices.DeleteFunc(slices.Clone(p.Workers), func(k ir.Worker) bool { return k.Type != name })
}

// An entry has the fields of a service or worker that merging sets.
type entry struct{ doc, constraint, clientConstraint *string }

// entries returns the services and workers of a type.
func entries(p *ir.Package, name string) (all []entry) {
	for i := range p.Services {
		if s := &p.Services[i]; s.Type == name {
			all = append(all, entry{&s.Doc, &s.Constraint, &s.ClientConstraint})
		}
	}
	for i := range p.Workers {
		if k := &p.Workers[i]; k.Type == name {
			all = append(all, entry{&k.Doc, &k.Constraint, &k.ClientConstraint})
		}
	}
	return all
}

// sameContract reports whether two packages have the same services and workers of a type. It ignores comments and names
// that callers don't see.
func sameContract(a, b *ir.Package, name string) bool {
	return allEqual(plainServices(a, name), plainServices(b, name)) &&
		allEqual(plainWorkers(a, name), plainWorkers(b, name))
}

func plainServices(p *ir.Package, name string) []ir.Service {
	all := services(p, name)
	for i := range all {
		all[i].Doc = ""
		all[i].Methods = slices.Clone(all[i].Methods)
		for j := range all[i].Methods {
			m := &all[i].Methods[j]
			m.Doc, m.Ctx, m.Err, m.Named = "", "", "", false
		}
	}
	return all
}

func plainWorkers(p *ir.Package, name string) []ir.Worker {
	all := workers(p, name)
	for i := range all {
		all[i].Doc = ""
	}
	return all
}

func allEqual[T any](a, b []T) bool {
	return slices.EqualFunc(a, b, func(a, b T) bool { return reflect.DeepEqual(a, b) })
}

// setConstraints sets the constraints of services and workers.
func (sc *scanner) setConstraints(p *part) {
	for _, t := range p.unit.types {
		t.constraint = buildtag.Either(t.constraints)
		for _, e := range entries(p.pkg.IR, t.name()) {
			*e.constraint, *e.clientConstraint = buildtag.String(t.constraint), ""
			if t.confined {
				*e.clientConstraint = *e.constraint
			}
		}
	}
}

// needSignatures requests the declarations that the signatures of a package's annotated types mention. The fields of
// the annotated types are not sent and not needed.
func (sc *scanner) needSignatures(u *unit) {
	for _, t := range u.types {
		if t.broken {
			continue
		}
		sc.NeedName(u.Unit, t.name())
		for _, m := range t.methods {
			switch {
			case m.skip:
			case t.isWorker() && !isWorkerMethod(m.decl):
				sc.Keep(u.Unit, m.decl)
			default:
				sc.NeedMethod(u.Unit, m.decl)
			}
		}
	}
}

// isWorkerMethod reports whether the runtime calls a worker's method.
func isWorkerMethod(d *ast.FuncDecl) bool {
	return slices.Contains([]string{"Run", "SubtasksDone", "Backoff"}, d.Name.Name)
}

// A variant is one declaration of a method.
type variant struct {
	fn         *ast.FuncDecl
	constraint constraint.Expr
}

// checkEverywhere reports remote methods that are missing on some systems of their type. Each instance of a service
// must have all methods.
func (sc *scanner) checkEverywhere(u *unit, p *ir.Package) {
	here := sc.roots[u.Pkg.PkgPath] // it knows the files of all systems
	if here == nil || here.Broken {
		return
	}
	for _, t := range u.types {
		if t.broken {
			continue
		}
		methods := map[string][]variant{}
		note := func(fn *ast.FuncDecl, x constraint.Expr) {
			if fn.Name.IsExported() && !hasDirective(fn.Doc, "skip") && (!t.isWorker() || isWorkerMethod(fn)) {
				methods[fn.Name.Name] = append(methods[fn.Name.Name], variant{fn, x})
			}
		}
		for _, fn := range here.Methods[t.name()] {
			note(fn, sc.constraintOf(here.FileAt(fn.Pos())))
		}
		for _, h := range here.hidden {
			if h.base == t.name() {
				note(h.fn, h.constraint)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(methods)) {
			sc.checkVariants(u, t, methods[name])
			if len(methods[name]) > 1 {
				setNames(p, t.name(), methods[name][0].fn)
			}
		}
	}
}

// checkVariants compares all declarations of one method.
func (sc *scanner) checkVariants(u *unit, t *annotated, all []variant) {
	slices.SortFunc(all, func(a, b variant) int {
		return cmp.Compare(sc.Position(a.fn.Pos()).Filename, sc.Position(b.fn.Pos()).Filename)
	})
	var constraints []constraint.Expr
	for _, v := range all {
		constraints = append(constraints, v.constraint)
	}
	name := all[0].fn.Name
	if x := buildtag.Either(constraints); !buildtag.Implies(t.constraint, x) {
		behind := "has none"
		if t.constraint != nil {
			behind = "has " + buildtag.String(t.constraint)
		}
		sc.ReportAt(name, diag.NotEverywhere,
			fmt.Sprintf("method %s of %s has the build constraint %s, but %[2]s %[4]s",
				name.Name, t.name(), buildtag.String(x), behind),
			fmt.Sprintf("each instance has all methods: declare %s for all systems of %s, "+
				"put %[2]s behind the same build constraint, or mark %[1]s //af:skip", name.Name, t.name()))
		return
	}
	for _, v := range all[1:] {
		// If the constraints are equal, the compiler reports that the method is declared twice.
		if buildtag.String(v.constraint) != buildtag.String(all[0].constraint) && wireOf(v.fn) != wireOf(all[0].fn) {
			sc.ReportAt(v.fn.Name, diag.Differs,
				fmt.Sprintf("method %s of %s differs from its declaration at %s",
					v.fn.Name.Name, t.name(), sc.place(sc.Position(name.Pos()))),
				"a contract is the same on all systems: give both the same parameters, results and directives")
		}
	}
}

// setNames sets the parts of a method that callers don't see from one of its declarations.
func setNames(p *ir.Package, typ string, fn *ast.FuncDecl) {
	i := slices.IndexFunc(p.Services, func(s ir.Service) bool { return s.Type == typ })
	if i < 0 {
		return
	}
	j := slices.IndexFunc(p.Services[i].Methods, func(m ir.Method) bool { return m.GoName == fn.Name.Name })
	if j < 0 {
		return // it has problems
	}
	m := &p.Services[i].Methods[j]
	m.Doc = docText(fn.Doc)
	m.Ctx, _ = nameIn(fn.Type.Params, 0)
	m.Err, m.Named = nameIn(fn.Type.Results, fn.Type.Results.NumFields()-1)
}

// nameIn returns the name of a parameter or result, or "" if it is blank, and reports whether it is named.
func nameIn(list *ast.FieldList, index int) (name string, named bool) {
	for _, f := range fieldsOf(list) {
		for _, id := range f.Names {
			if index == 0 && id.Name != "_" {
				return id.Name, true
			}
			if index == 0 {
				return "", true
			}
			index--
		}
		if len(f.Names) == 0 {
			index--
		}
	}
	return "", false
}

// wireOf returns the parts of a method's declaration that affect the wire: all but the names of its context and error.
func wireOf(fn *ast.FuncDecl) string {
	var b strings.Builder
	list := func(fields *ast.FieldList, unnamed int) {
		b.WriteByte('(')
		i := 0
		for _, f := range fieldsOf(fields) {
			for n := range max(1, len(f.Names)) {
				if len(f.Names) > 0 && i != unnamed {
					b.WriteString(f.Names[n].Name + " ")
				}
				b.WriteString(types.ExprString(f.Type) + ",")
				i++
			}
		}
		b.WriteByte(')')
	}
	list(fn.Type.Params, 0)
	list(fn.Type.Results, fn.Type.Results.NumFields()-1)
	if fn.Doc != nil {
		for _, c := range fn.Doc.List {
			if strings.HasPrefix(c.Text, "//af:") {
				b.WriteString("\n" + c.Text)
			}
		}
	}
	return b.String()
}

func fieldsOf(list *ast.FieldList) []*ast.Field {
	if list == nil {
		return nil
	}
	return list.List
}
