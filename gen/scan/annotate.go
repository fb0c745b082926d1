package scan

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/scan/internal/load"
)

// An annotated is a type with //af:rpc or //af:worker.
type annotated struct {
	file      *load.File
	gen       *ast.GenDecl
	spec      *ast.TypeSpec
	directive *directive.Directive
	rpc       directive.RPC    // of an //af:rpc
	worker    directive.Worker // of an //af:worker
	jobs      []job            // of an //af:worker
	methods   []*method        // exported ones declared on the type, by name
	allow     []ir.Allow
	broken    bool // the type itself has problems; its methods are not checked

	constraints []constraint.Expr // of the files that declare it
	constraint  constraint.Expr   // of the type: the disjunction of constraints
	confined    bool              // its signatures mention types that are missing on some systems
}

// A job is an //af:schedule directive and its values.
type job struct {
	directive *directive.Directive
	options   directive.Schedule
}

func (t *annotated) name() string   { return t.spec.Name.Name }
func (t *annotated) isWorker() bool { return t.directive.Name == "worker" }

// A method is an exported method of an annotated type with the values of its directives.
type method struct {
	decl    *ast.FuncDecl
	skip    bool
	options directive.Method
	by      *directive.Directive // the first of its directives

	allow []ir.Allow
}

// A note is a directive with its declaration.
type note struct {
	directive *directive.Directive
	file      *load.File
	gen       *ast.GenDecl
	spec      *ast.TypeSpec // for a type
	fn        *ast.FuncDecl // for a func or method
}

// annotate finds the directives of a package and the services and workers that they define.
func (sc *scanner) annotate(u *unit) {
	var notes []note
	for _, f := range u.Files {
		if strings.HasSuffix(f.Name, ".go") {
			notes = append(notes, sc.notes(u, f)...)
		}
	}
	var allows []note
	notes = slices.DeleteFunc(notes, func(n note) bool {
		if n.directive.Name == "allow" {
			allows = append(allows, n)
			return true
		}
		return false
	})
	for _, n := range notes {
		if n.spec != nil && n.directive.Name != "schedule" {
			sc.annotateType(u, n)
		}
	}
	for _, n := range notes {
		if n.spec != nil && n.directive.Name == "schedule" {
			sc.annotateJob(u, n)
		}
	}
	slices.SortFunc(u.types, func(a, b *annotated) int { return strings.Compare(a.name(), b.name()) })
	for _, t := range u.types {
		for _, d := range u.Methods[t.name()] {
			if d.Name.IsExported() {
				t.methods = append(t.methods, &method{decl: d})
			}
		}
		slices.SortFunc(t.methods, func(a, b *method) int { return strings.Compare(a.decl.Name.Name, b.decl.Name.Name) })
	}
	for _, n := range notes {
		if n.fn != nil {
			sc.annotateMethod(u, n)
		}
	}
	for _, n := range allows {
		sc.annotateAllow(u, n)
	}
}

// notes returns the directives of a file that belong to a type or func, and reports the others.
func (sc *scanner) notes(u *unit, f *load.File) []note {
	owners := ownersOf(f.AST)
	var notes []note
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			d, is, problems := directive.Scan(c.Text, load.Pos(sc.Position(c.Pos())))
			sc.problems = append(sc.problems, problems...)
			if !is || d == nil {
				continue
			}
			n := owners[group]
			if n.spec == nil && n.fn == nil {
				n = sc.misplaced(f, group, d, owners)
			}
			if n.directive, n.file = d, f; n.spec != nil || n.fn != nil {
				notes = append(notes, n)
			}
		}
	}
	return notes
}

// ownersOf returns the types and funcs that the doc comments of a file document. For doc comments of other
// declarations, the note has neither.
func ownersOf(f *ast.File) map[*ast.CommentGroup]note {
	owners := map[*ast.CommentGroup]note{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil {
				owners[d.Doc] = note{fn: d}
			}
		case *ast.GenDecl:
			if d.Doc != nil {
				owners[d.Doc] = note{gen: d}
			}
			if d.Tok != token.TYPE {
				continue
			}
			for _, s := range d.Specs {
				spec := s.(*ast.TypeSpec)
				if doc := docOf(d, spec); doc != nil {
					owners[doc] = note{gen: d, spec: spec}
				}
			}
		}
	}
	return owners
}

// docOf returns the doc comment of a type: its own inside a group, otherwise that of the declaration.
func docOf(d *ast.GenDecl, spec *ast.TypeSpec) *ast.CommentGroup {
	if !d.Lparen.IsValid() {
		return d.Doc
	}
	return spec.Doc
}

// annotates reports whether a file that is not scanned has annotations.
func annotates(src []byte) bool {
	if !directive.MayContain(src) {
		return false
	}
	tree, _ := parser.ParseFile(token.NewFileSet(), "", src, parser.ParseComments|parser.SkipObjectResolution)
	if tree == nil {
		return false
	}
	return slices.ContainsFunc(tree.Comments, func(group *ast.CommentGroup) bool {
		return slices.ContainsFunc(group.List, func(c *ast.Comment) bool {
			_, is, _ := directive.Scan(c.Text, diag.Pos{Line: 1, Column: 1})
			return is
		})
	})
}

// misplaced reports a directive that belongs to no type or func. If the intended declaration is clear, misplaced
// returns it, so that no further problems are reported.
func (sc *scanner) misplaced(
	f *load.File, group *ast.CommentGroup, d *directive.Directive, owners map[*ast.CommentGroup]note,
) note {
	on := belongsOn(d)
	report := func(code diag.Code, message, hint string) { sc.reportDirective(d, code, message, hint) }
	if owner, ok := owners[group]; ok { // a GenDecl
		if owner.gen.Lparen.IsValid() && owner.gen.Tok == token.TYPE {
			report(diag.Misplaced, fmt.Sprintf("//af:%s is on a group of types", d.Name),
				"move it to the type inside the parentheses")
			return note{}
		}
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on %s declaration", d.Name, article(owner.gen.Tok)),
			"it belongs on "+on)
		return note{}
	}
	if group == f.AST.Doc || group.End() < f.AST.Package {
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on the package clause", d.Name), "it belongs on "+on)
		return note{}
	}
	for _, decl := range f.AST.Decls {
		if decl.Pos() <= group.Pos() && group.Pos() <= decl.End() || sc.sameLine(decl.End(), group.Pos()) {
			report(diag.Misplaced, fmt.Sprintf("//af:%s is inside or after another declaration", d.Name),
				"it belongs on "+on+", in the comment directly above")
			return note{}
		}
	}
	i := slices.IndexFunc(f.AST.Decls, func(decl ast.Decl) bool { return decl.Pos() > group.End() })
	if i < 0 {
		report(diag.Detached, fmt.Sprintf("no declaration follows //af:%s", d.Name), "it belongs on "+on)
		return note{}
	}
	meant, ok := intended(d, f.AST.Decls[i])
	if !ok {
		report(diag.Detached, fmt.Sprintf("//af:%s can't apply to the declaration that follows", d.Name),
			"it belongs on "+on)
		return note{}
	}
	report(diag.Detached, fmt.Sprintf("a blank line separates //af:%s from %s", d.Name, describe(f.AST.Decls[i])),
		"remove the blank line")
	return meant
}

// intended returns the declaration below a directive and reports whether the directive may apply to it.
func intended(d *directive.Directive, decl ast.Decl) (note, bool) {
	forType := d.Name == "rpc" || d.Name == "worker" || d.Name == "schedule"
	if d.Name == "allow" {
		_, isFunc := decl.(*ast.FuncDecl)
		forType = !isFunc
	}
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		return note{fn: decl}, !forType && decl.Recv != nil
	case *ast.GenDecl:
		if forType && decl.Tok == token.TYPE && !decl.Lparen.IsValid() {
			return note{gen: decl, spec: decl.Specs[0].(*ast.TypeSpec)}, true
		}
	}
	return note{}, false
}

// article returns a keyword with its indefinite article.
func article(tok token.Token) string {
	if tok == token.IMPORT {
		return "an import"
	}
	return "a " + tok.String()
}

func (sc *scanner) sameLine(a, b token.Pos) bool {
	return sc.Position(a).Line == sc.Position(b).Line
}

// describe returns the name of a declaration for a message.
func describe(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil {
			return "method " + d.Name.Name
		}
		return "func " + d.Name.Name
	case *ast.GenDecl:
		for _, s := range d.Specs {
			if names := load.Declared(s); len(names) > 0 {
				return d.Tok.String() + " " + names[0].Name
			}
		}
		return "the " + d.Tok.String() + " declaration"
	}
	return "the declaration"
}

// annotateType adds a service or worker, or reports a problem.
func (sc *scanner) annotateType(u *unit, n note) {
	d, id := n.directive, n.spec.Name
	report := func(code diag.Code, message, hint string) { sc.reportDirective(d, code, message, hint) }
	if d.Name != "rpc" && d.Name != "worker" {
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on type %s", d.Name, id.Name), "it belongs on "+belongsOn(d))
		return
	}
	for _, t := range u.types {
		if t.spec == n.spec {
			hint := "keep one of them"
			if t.directive.Name != d.Name {
				hint = "a type is either a service or a worker: split it in two"
			}
			report(diag.Conflict, fmt.Sprintf("type %s already has //af:%s", id.Name, t.directive.Name), hint)
			return
		}
	}
	t := &annotated{file: n.file, gen: n.gen, spec: n.spec, directive: d}
	var problems diag.List
	if t.isWorker() {
		t.worker, problems = d.Worker()
	} else {
		t.rpc, problems = d.RPC()
	}
	sc.problems = append(sc.problems, problems...)
	u.types = append(u.types, t)

	_, isStruct := n.spec.Type.(*ast.StructType)
	_, isInterface := n.spec.Type.(*ast.InterfaceType)
	switch {
	case n.spec.Assign.IsValid():
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on an alias", d.Name), "put it on the type that "+id.Name+" denotes")
	case !id.IsExported():
		report(diag.NotExported, fmt.Sprintf("type %s is not exported", id.Name), "rename it to "+exported(id.Name))
	case n.spec.TypeParams != nil:
		report(diag.Generic, fmt.Sprintf("type %s is generic", id.Name),
			"annotate a struct that contains or embeds an instance of it")
	case isInterface:
		report(diag.NotStruct, fmt.Sprintf("type %s is an interface, not a struct", id.Name),
			"annotate the struct that implements "+id.Name)
	case !isStruct:
		report(diag.NotStruct, fmt.Sprintf("type %s is not a struct", id.Name), "declare type "+id.Name+" struct { … }")
	default:
		return
	}
	t.broken = true
}

// annotateJob adds a job to its worker, or reports a problem.
func (sc *scanner) annotateJob(u *unit, n note) {
	d := n.directive
	i := slices.IndexFunc(u.types, func(t *annotated) bool { return t.spec == n.spec })
	if i < 0 || !u.types[i].isWorker() {
		sc.reportDirective(d, diag.Misplaced,
			fmt.Sprintf("//af:schedule is on type %s, which has no //af:worker", n.spec.Name.Name),
			"it belongs on "+belongsOn(d))
		return
	}
	options, problems := d.Schedule()
	sc.problems = append(sc.problems, problems...)
	u.types[i].jobs = append(u.types[i].jobs, job{d, options})
}

// annotateMethod applies //af:method and //af:skip, or reports a problem.
func (sc *scanner) annotateMethod(u *unit, n note) {
	d, id := n.directive, n.fn.Name
	report := func(code diag.Code, message, hint string) { sc.reportDirective(d, code, message, hint) }
	if d.Name != "method" && d.Name != "skip" || n.fn.Recv == nil {
		what := "func"
		if n.fn.Recv != nil {
			what = "method"
		}
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on %s %s", d.Name, what, id.Name), "it belongs on "+belongsOn(d))
		return
	}
	base := u.Receiver(n.fn)
	i := slices.IndexFunc(u.types, func(t *annotated) bool { return t.name() == base })
	switch {
	case i < 0:
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on a method of %s, which has no //af:rpc", d.Name, base),
			"it belongs on "+belongsOn(d))
		return
	case u.types[i].isWorker():
		report(diag.Misplaced, fmt.Sprintf("//af:%s is on a method of worker %s", d.Name, base),
			"only a service has remote methods: remove it")
		return
	case !id.IsExported():
		report(diag.Misplaced,
			fmt.Sprintf("//af:%s is on %s, which is not exported and therefore not remote", d.Name, id.Name),
			"remove it, or rename the method to "+exported(id.Name))
		return
	}
	m := u.types[i].methods[slices.IndexFunc(u.types[i].methods, func(m *method) bool { return m.decl == n.fn })]
	switch {
	case m.by == nil:
	case m.by.Name == d.Name:
		hint := "keep one of them"
		if d.Name == "method" {
			hint = "put all keys on one line"
		}
		report(diag.Conflict, fmt.Sprintf("%s has //af:%s twice", id.Name, d.Name), hint)
		return
	default:
		report(diag.Conflict, fmt.Sprintf("%s already has //af:%s", id.Name, m.by.Name),
			"a skipped method is not remote: keep one of them")
		return
	}
	m.by = d
	if d.Name == "skip" {
		m.skip = true
		return
	}
	var problems diag.List
	m.options, problems = d.Method()
	sc.problems = append(sc.problems, problems...)
}

// belongsOn returns the declarations that a directive applies to.
func belongsOn(d *directive.Directive) string {
	spec, _ := directive.Lookup(d.Name) // directives are in the table
	return spec.On
}

// exported returns a name with its first letter in upper case.
func exported(name string) string {
	if name == "" {
		return name
	}
	return strings.ToUpper(name[:1]) + name[1:]
}
