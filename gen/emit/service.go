package emit

import (
	"slices"

	"github.com/dave/jennifer/jen"
)

// api declares the interface of a service. Its methods have the signatures that the user declared.
func (w *writer) api(s service) declaration {
	var lines []jen.Code
	for _, m := range s.methods {
		lines = append(lines, doc(m.Doc)...)
		lines = append(lines, jen.Id(m.GoName).Add(w.signatureCode(declared(m.Method), columns("    ", m.GoName))))
	}
	about := comment("%s has the methods of service %s. Both *%s and *%s implement it.",
		s.api(), s.Name, w.original(s.Type), s.client())
	return slices.Concat(declaration{about}, paragraph(s.Doc), declaration{jen.Type().Id(s.api()).Interface(lines...)})
}

func (w *writer) apiAssertions(s service) declaration {
	assert := func(typ string) jen.Code {
		return jen.Id("_").Id(s.api()).Op("=").Parens(jen.Op("*").Id(typ)).Parens(jen.Nil())
	}
	if !s.serves() { // the type is in another package
		return declaration{jen.Var().Add(assert(s.client()))}
	}
	return declaration{jen.Var().Defs(assert(s.Type), assert(s.client()))}
}

func (w *writer) client(s service) declaration {
	return declaration{
		comment("%s calls service %s. It is safe for concurrent use and doesn't need to be closed.", s.client(), s.Name),
		jen.Type().Id(s.client()).Add(structOf(jen.Id("client").Add(w.af("Client")))),
	}
}

func (w *writer) newClient(s service) declaration {
	client := jen.Add(w.af("NewClient")).Call(jen.Id("c"), jen.Id("opts").Op("..."))
	return declaration{
		comment("%s returns a client of %s over c, usually an *%s, without doing I/O. All its calls use opts.",
			s.newClient(), s.Name, w.qualify(runtimePath, "App")),
		jen.Func().Id(s.newClient()).
			Params(jen.Id("c").Add(w.af("Caller")), jen.Id("opts").Op("...").Add(w.af("CallOption"))).
			Op("*").Id(s.client()).
			Block(jen.Return(jen.Op("&").Id(s.client()).Values(client))),
	}
}

// registerService declares the function that registers an implementation. Only it mentions the handlers, so a program
// that only calls the service doesn't link them.
func (w *writer) registerService(s service) declaration {
	args := []jen.Code{jen.Id("r"), jen.Id(s.helper), jen.Id("impl")}
	for _, m := range s.methods {
		args = append(args, jen.Line().Add(w.af("Bind")).Call(jen.Op("&").Id(m.helper), jen.Id(m.handler)))
	}
	if len(s.methods) > 0 {
		args = append(args, jen.Line())
	}
	return declaration{
		comment("%s registers impl with r as service %s. Errors, such as a nil impl, are reported by Start.",
			s.register(), s.Name),
		jen.Func().Id(s.register()).Params(jen.Id("r").Add(w.af("Registrar")), jen.Id("impl").Op("*").Id(s.Type)).
			Block(jen.Add(w.af("RegisterService")).Call(args...)),
	}
}

func (w *writer) serviceValue(s service) declaration {
	fields := []jen.Code{
		w.field("Name", jen.Lit(s.Name)),
		w.field("Type", jen.Lit(s.Type)),
		w.field("Concurrency", jen.Lit(s.Concurrency)),
	}
	about := synopsis(s.Doc)
	if about == "" {
		return declaration{jen.Var().Id(s.helper).Op("=").Add(w.af("Service")).Values(fields...)}
	}
	fields = append(fields, w.field("Doc", text(about)))
	return declaration{jen.Var().Id(s.helper).Op("=").Add(w.af("Service")).Add(multiline(fields))}
}
