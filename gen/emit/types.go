package emit

import (
	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/ir"
)

// typeCode returns the code of t.
func typeCode(t *ir.Type) *jen.Statement {
	switch t.Kind {
	case ir.Named:
		if len(t.Args) == 0 {
			return jen.Qual(t.Path, t.Name)
		}
		args := make([]jen.Code, len(t.Args))
		for i := range t.Args {
			args[i] = typeCode(&t.Args[i])
		}
		return jen.Qual(t.Path, t.Name).Types(args...)
	case ir.Pointer:
		return jen.Op("*").Add(typeCode(t.Elem))
	case ir.Slice:
		return jen.Index().Add(typeCode(t.Elem))
	case ir.Array:
		return jen.Index(integer(t.Len)).Add(typeCode(t.Elem))
	case ir.Map:
		return jen.Map(typeCode(t.Key)).Add(typeCode(t.Elem))
	case ir.Struct:
		fields := make([]jen.Code, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = fieldCode(f)
		}
		return structOf(fields...)
	}
	return jen.Id(t.Name)
}

func fieldCode(f ir.Field) *jen.Statement {
	code := &jen.Statement{}
	if !f.Embedded {
		code.Id(f.Name)
	}
	code.Add(typeCode(&f.Type))
	if f.Tag != "" {
		code.Lit(f.Tag)
	}
	return code
}

// structOf returns a struct type on one line. (jen.Struct gives each field its own line, and gofmt keeps that.)
func structOf(fields ...jen.Code) *jen.Statement {
	return jen.Custom(jen.Options{Open: "struct{", Close: "}", Separator: ";"}, fields...)
}

// local returns the named type of the file's own package, or struct{} if name is "".
func (w *writer) local(name string) *ir.Type {
	if name == "" {
		return &ir.Type{Kind: ir.Struct}
	}
	return &ir.Type{Kind: ir.Named, Path: w.Path, Name: name}
}

// af returns the code of an identifier of the runtime.
func (w *writer) af(name string) jen.Code { return w.qualified(runtimePath, name) }

// qualified returns the code of an identifier of a package. (It is spelled like a type.)
func (w *writer) qualified(path, name string) jen.Code {
	s := spelling{typ: w.qualify(path, name)}
	return w.element(s, func() jen.Code { return jen.Qual(path, name) }).code
}

// qualify returns an identifier of a package as it appears in this file.
func (w *writer) qualify(path, name string) string {
	if path == w.Path {
		return name
	}
	return w.imports[path] + "." + name
}

// spell returns t as it appears in this file. Its length is the width of its code.
func (w *writer) spell(t *ir.Type) string { return t.Spell(w.qualify) }

// typeElement returns t as an element of a list.
func (w *writer) typeElement(t *ir.Type) element {
	return w.element(spelling{typ: w.spell(t)}, func() jen.Code { return typeCode(t) })
}

// describe returns t for descriptions, with the names in package clauses. If the names of two types would be equal,
// both have their import paths.
func (w *writer) describe(t *ir.Type) string {
	return t.Spell(func(path, name string) string {
		switch {
		case path == w.Path:
			return name
		case w.ambiguous[w.clauses[path]+"."+name]:
			return path + "." + name
		}
		return w.clauses[path] + "." + name
	})
}

// ambiguousNames returns the qualified names that denote types of more than one package.
func (a *plan) ambiguousNames() map[string]bool {
	paths, ambiguous := map[string]string{}, map[string]bool{}
	a.Walk(func(t ir.Type) {
		if t.Kind != ir.Named || t.Path == a.Path {
			return
		}
		name := a.clauses[t.Path] + "." + t.Name
		if other, ok := paths[name]; ok && other != t.Path {
			ambiguous[name] = true
		}
		paths[name] = t.Path
	})
	return ambiguous
}
