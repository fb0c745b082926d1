package emit

import (
	"fmt"

	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/ir"
)

// locals are the identifiers in a client method.
type locals struct {
	receiver, ctx string
	params        []string
	reply, err    string
}

// nameLocals returns the names that the user chose, and names for the rest that differ from them.
func nameLocals(s service, m method) locals {
	taken := scope{}
	taken.take(namesIn(m.Method)...)
	taken.take(s.receiver)
	or := func(name string, wishes ...string) string {
		if name != "" {
			return name
		}
		return taken.pick(wishes...)
	}
	l := locals{receiver: s.receiver, ctx: or(m.Ctx, "ctx", "callCtx")}
	for i, p := range m.Params {
		l.params = append(l.params, or(p.Name, fmt.Sprintf("arg%d", i), fmt.Sprintf("param%d", i)))
	}
	l.err = or(m.Err, "err", "callErr")
	l.reply = taken.pick("r", "reply")
	return l
}

// clientMethod declares the client's method for m.
func (w *writer) clientMethod(s service, m method) declaration {
	l := nameLocals(s, m)
	sig := declared(m.Method)
	sig.namedParams = true
	sig.params[0].name = l.ctx
	for i, name := range l.params {
		sig.params[i+1].name = name
	}
	head := w.signatureCode(sig, columns("func (", l.receiver, " *", s.client(), ") ", m.GoName, " {"))

	reply, assign := l.reply, ":="
	if len(m.Results) == 0 {
		reply = "_"
		if m.Err != "" { // a named result, so := would declare nothing
			assign = "="
		}
	}
	args := w.typeElement(w.local(m.args))
	others := args.width +
		columns("    ", reply, ", ", l.err, " ", assign, " ", m.helper, ".Call(", l.ctx, ", ", l.receiver, ".client, )")
	var fields []element
	for _, name := range l.params {
		fields = append(fields, w.identifier(name))
	}
	var results []jen.Code
	for _, name := range m.replyFields {
		results = append(results, jen.Id(l.reply).Dot(name))
	}
	results = append(results, jen.Id(l.err))
	return append(doc(m.Doc), jen.Func().Params(jen.Id(l.receiver).Op("*").Id(s.client())).Id(m.GoName).Add(head).Block(
		jen.List(jen.Id(reply), jen.Id(l.err)).Op(assign).Id(m.helper).Dot("Call").
			Call(jen.Id(l.ctx), jen.Id(l.receiver).Dot("client"), jen.Add(args.code, list("{", fields, "}", others))),
		jen.Return(results...),
	))
}

// methodValue declares the description of m that both sides need.
func (w *writer) methodValue(s service, m method) declaration {
	fields := []jen.Code{
		field("Service", jen.Lit(s.Name)),
		field("Name", jen.Lit(m.Name)),
		field("Signature", jen.Lit(w.description(m.Method))),
		field("Timeout", duration(m.Timeout)),
	}
	if m.Idempotent {
		fields = append(fields, field("Idempotent", jen.True()))
	}
	fingerprint := w.contract.Services[s.Name].Methods[m.Name].Fingerprint
	fields = append(fields, field("Fingerprint", jen.Lit(fingerprint)))
	structs := []element{w.typeElement(w.local(m.args)), w.typeElement(w.local(m.reply))}
	types := list("[", structs, "]", columns("var ", m.helper, " = ", w.qualify(runtimePath, "Method"), "{"))
	return declaration{jen.Var().Id(m.helper).Op("=").Add(af("Method"), types, multiline(fields))}
}

// methodStructs declares the structs that carry the arguments and results of m, if it has any.
func (w *writer) methodStructs(m method) []declaration {
	var structs []declaration
	if m.args != "" {
		structs = append(structs, w.methodStruct(m.args, m.argFields, m.Params))
	}
	if m.reply != "" {
		structs = append(structs, w.methodStruct(m.reply, m.replyFields, m.Results))
	}
	return structs
}

func (w *writer) methodStruct(name string, fields []string, params []ir.Param) declaration {
	members := make([]jen.Code, len(params))
	for i, p := range params {
		members[i] = jen.Id(fields[i]).Add(w.typeElement(p.Type).code).Tag(map[string]string{"json": p.Member})
	}
	return declaration{jen.Type().Id(name).Struct(members...)}
}

// handler declares the function that calls the implementation.
func (w *writer) handler(s service, m method) declaration {
	args, reply := variable{name: "a", typ: w.local(m.args)}, variable{name: "r", typ: w.local(m.reply)}
	if m.args == "" {
		args.name = ""
	}
	impl := w.local(s.Type)
	sig := signature{
		params:       []variable{contextVariable("ctx"), {name: "s", typ: ir.Type{Kind: ir.Pointer, Elem: &impl}}, args},
		results:      []variable{reply, errorVariable("err")},
		namedParams:  true,
		namedResults: m.reply != "",
	}
	head := jen.Func().Id(m.handler).Add(w.signatureCode(sig, columns("func ", m.handler, " {")))

	values := []element{w.identifier("ctx")}
	for i, name := range m.argFields {
		value, width := jen.Id("a").Dot(name), columns("a.", name)
		if m.Variadic && i == len(m.argFields)-1 {
			value, width = value.Op("..."), width+len("...")
		}
		values = append(values, element{value, width})
	}
	call := jen.Id("s").Dot(m.GoName)
	if m.reply == "" {
		others := len("    return struct{}{}, s.") + len(m.GoName) // bytes, not columns: generated files keep their lines
		return declaration{head.Block(jen.Return(typeCode(reply.typ).Values(), call.Add(list("(", values, ")", others))))}
	}
	var results []jen.Code
	others := columns("    err = s.", m.GoName)
	for _, name := range m.replyFields {
		results = append(results, jen.Id("r").Dot(name))
		others += columns("r.", name, ", ")
	}
	results = append(results, jen.Id("err"))
	return declaration{head.Block(
		jen.List(results...).Op("=").Add(call).Add(list("(", values, ")", others)),
		jen.Return(jen.Id("r"), jen.Id("err")),
	)}
}
