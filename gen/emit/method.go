package emit

import (
	"strconv"

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
		number := strconv.Itoa(i)
		l.params = append(l.params, or(p.Name, "arg"+number, "param"+number))
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
	receiver := w.element(spelling{l.receiver, "*" + s.client()}, func() jen.Code {
		return jen.Id(l.receiver).Op("*").Id(s.client())
	})
	head := w.signatureCode(sig, columns("func (", ") ", m.GoName, " {")+receiver.width)

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
		results = append(results, w.selector(l.reply, name).code)
	}
	results = append(results, w.identifier(l.err).code)
	return append(doc(m.Doc), jen.Func().Params(receiver.code).Id(m.GoName).Add(head).Block(
		jen.List(w.identifier(reply).code, w.identifier(l.err).code).Op(assign).Id(m.helper).Dot("Call").
			Call(w.identifier(l.ctx).code, w.selector(l.receiver, "client").code,
				jen.Add(args.code, list("{", fields, "}", others))),
		jen.Return(results...),
	))
}

// methodValue declares the description of m that both sides need.
func (w *writer) methodValue(s service, m method) declaration {
	fields := []jen.Code{
		w.field("Service", jen.Lit(s.Name)),
		w.field("Name", jen.Lit(m.Name)),
		w.field("Signature", jen.Lit(w.description(m.Method))),
		w.field("Timeout", w.duration(m.Timeout)),
	}
	if m.Idempotent {
		fields = append(fields, w.field("Idempotent", jen.True()))
	}
	fingerprint := w.contract.Services[s.Name].Methods[m.Name].Fingerprint
	fields = append(fields, w.field("Fingerprint", jen.Lit(fingerprint)))
	if about := synopsis(m.Doc); about != "" {
		fields = append(fields, w.field("Doc", text(about)))
	}
	structs := []element{w.typeElement(w.local(m.args)), w.typeElement(w.local(m.reply))}
	types := list("[", structs, "]", columns("var ", m.helper, " = ", w.qualify(runtimePath, "Method"), "{"))
	return declaration{jen.Var().Id(m.helper).Op("=").Add(w.af("Method"), types, multiline(fields))}
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
	for i := range params {
		p := &params[i]
		members[i] = jen.Add(w.identifier(fields[i]).code, w.typeElement(&p.Type).code, w.tag(p.Member))
	}
	return declaration{jen.Type().Id(name).Struct(members...)}
}

// tag returns the tag of the field for a member.
func (w *writer) tag(member string) jen.Code {
	return w.element(spelling{name: "json:", typ: member}, func() jen.Code {
		return jen.Tag(map[string]string{"json": member})
	}).code
}

// handler declares the function that calls the implementation.
func (w *writer) handler(s service, m method) declaration {
	args, reply := variable{name: "a", typ: w.local(m.args)}, variable{name: "r", typ: w.local(m.reply)}
	if m.args == "" {
		args.name = ""
	}
	impl := &ir.Type{Kind: ir.Pointer, Elem: w.local(s.Type)}
	sig := signature{
		params:       []variable{{name: "ctx", typ: contextType}, {name: "s", typ: impl}, args},
		results:      []variable{reply, {name: "err", typ: errorType}},
		namedParams:  true,
		namedResults: m.reply != "",
	}
	head := jen.Func().Id(m.handler).Add(w.signatureCode(sig, columns("func ", m.handler, " {")))

	values := []element{w.identifier("ctx")}
	for i, name := range m.argFields {
		value := w.selector("a", name)
		if m.Variadic && i == len(m.argFields)-1 {
			value = element{jen.Add(value.code).Op("..."), value.width + len("...")}
		}
		values = append(values, value)
	}
	call := w.selector("s", m.GoName)
	if m.reply == "" {
		others := len("    return struct{}{}, s.") + len(m.GoName) // bytes, not columns: generated files keep their lines
		return declaration{head.Block(jen.Return(
			jen.Add(w.typeElement(reply.typ).code).Values(),
			jen.Add(call.code, list("(", values, ")", others)),
		))}
	}
	var results []jen.Code
	others := columns("    err = s.", m.GoName)
	for _, name := range m.replyFields {
		result := w.selector("r", name)
		results = append(results, result.code)
		others += result.width + len(", ")
	}
	results = append(results, w.identifier("err").code)
	return declaration{head.Block(
		jen.List(results...).Op("=").Add(call.code, list("(", values, ")", others)),
		jen.Return(w.identifier("r").code, w.identifier("err").code),
	)}
}
