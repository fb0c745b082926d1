package emit

import (
	"fmt"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/ir"
)

// locals are the identifiers in a client's method.
type locals struct {
	receiver, ctx string
	params        []string
	reply, err    string
}

// nameLocals keeps the user's names; those that the method needs besides give way to them.
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

// clientMethod declares the method of the client that calls m.
func (w *writer) clientMethod(s service, m method) declaration {
	l := nameLocals(s, m)
	sig := w.declared(m.Method)
	sig.params[0].name = l.ctx
	for i, name := range l.params {
		sig.params[i+1].name = name
	}
	receiver := fmt.Sprintf("(%s *%s) ", l.receiver, s.client())
	head := receiver + m.GoName + sig.spell(utf8.RuneCountInString("func "+receiver+m.GoName+" {"))

	reply, assign := l.reply, ":="
	if len(m.Results) == 0 {
		reply = "_"
		if m.Err != "" { // nothing is left to be declared
			assign = "="
		}
	}
	call := fmt.Sprintf("%s, %s %s %s.Call(%s, %s.client, ", reply, l.err, assign, m.helper, l.ctx, l.receiver)
	args := list(m.args+"{", l.params, "}", utf8.RuneCountInString("    "+call+")"))
	var results []jen.Code
	for _, name := range m.replyFields {
		results = append(results, jen.Id(l.reply).Dot(name))
	}
	results = append(results, jen.Id(l.err))
	return append(doc(m.Doc), jen.Func().Id(head).Block(jen.Id(call+args+")"), jen.Return(results...)))
}

// methodValue declares what both sides know of m.
func (w *writer) methodValue(s service, m method) declaration {
	fields := []jen.Code{
		field("Service", jen.Lit(s.Name)),
		field("Name", jen.Lit(m.Name)),
		field("Signature", jen.Lit(w.description(m.Method))),
		field("Timeout", jen.Id(w.duration(m.Timeout))),
	}
	if m.Idempotent {
		fields = append(fields, field("Idempotent", jen.True()))
	}
	fields = append(fields, field("Fingerprint", jen.Lit(contract.MethodFingerprint(w.Package, m.Method))))
	typ := w.af("Method")
	structs := list("[", []string{m.args, m.reply}, "]", utf8.RuneCountInString("var "+m.helper+" = "+typ+"{"))
	return declaration{jen.Var().Id(m.helper).Op("=").Id(typ + structs).Add(multiline(fields))}
}

// methodStructs declares the structs that m's arguments and results travel in, where there are any.
func (w *writer) methodStructs(m method) []declaration {
	var structs []declaration
	if m.args != noStruct {
		structs = append(structs, w.methodStruct(m.args, m.argFields, m.Params))
	}
	if m.reply != noStruct {
		structs = append(structs, w.methodStruct(m.reply, m.replyFields, m.Results))
	}
	return structs
}

func (w *writer) methodStruct(name string, fields []string, params []ir.Param) declaration {
	members := make([]jen.Code, len(params))
	for i, p := range params {
		members[i] = jen.Id(fields[i]).Id(w.spell(p.Type)).Tag(map[string]string{"json": p.Member})
	}
	return declaration{jen.Type().Id(name).Struct(members...)}
}

// handler declares the function that calls the implementation.
func (w *writer) handler(s service, m method) declaration {
	args, reply := variable{"a", m.args}, variable{"r", m.reply}
	if m.args == noStruct {
		args.name = ""
	}
	sig := signature{
		params:  []variable{{"ctx", w.qualify("context", "Context")}, {"s", "*" + s.Type}, args},
		results: []variable{reply, {"err", "error"}},
		named:   m.reply != noStruct,
	}
	head := m.handler + sig.spell(utf8.RuneCountInString("func "+m.handler+" {"))

	values := []string{"ctx"}
	for _, name := range m.argFields {
		values = append(values, "a."+name)
	}
	if m.Variadic {
		values[len(values)-1] += "..."
	}
	call := "s." + m.GoName
	if m.reply == noStruct {
		before := "return " + noStruct + "{}, " + call
		return declaration{jen.Func().Id(head).Block(jen.Id(before + list("(", values, ")", len("    ")+len(before))))}
	}
	before := ""
	for _, name := range m.replyFields {
		before += "r." + name + ", "
	}
	before += "err = " + call
	return declaration{jen.Func().Id(head).Block(
		jen.Id(before+list("(", values, ")", utf8.RuneCountInString("    "+before))),
		jen.Return(jen.Id("r"), jen.Id("err")),
	)}
}
