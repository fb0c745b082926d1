package emit

import (
	"fmt"
	"go/build/constraint"
	"strings"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/ir"
)

// A writer builds the declarations of a plan.
type writer struct {
	*plan
	known map[spelling]element // see element
}

// A declaration is the code of one declaration at package level, including its comment. Each item begins a new line.
type declaration []jen.Code

// declarations returns everything in the file after the imports.
func (w *writer) declarations() []declaration {
	all := []declaration{w.handshake()}
	if w.origin != nil {
		all = append(all, w.generatedFrom())
	} else if lines := w.assertions(); lines != nil {
		all = append(all, lines)
	}
	for _, s := range w.services {
		all = append(all, w.service(s)...)
	}
	for _, k := range w.workers {
		if k.calls() {
			all = append(all, w.queue(k), w.newQueue(k))
		}
		if k.serves() {
			all = append(all, w.registerWorker(k))
		}
		if !k.sharedElsewhere {
			all = append(all, w.workerValue(k))
		}
	}
	return all
}

// service returns the declarations of a service, or of the half of it that belongs to the file.
func (w *writer) service(s service) (all []declaration) {
	if s.calls() {
		all = append(all, w.api(s), w.apiAssertions(s), w.client(s), w.newClient(s))
		for _, m := range s.methods {
			all = append(all, w.clientMethod(s, m))
		}
	}
	if s.serves() {
		all = append(all, w.registerService(s), w.serviceValue(s))
	}
	for _, m := range s.methods {
		if !s.sharedElsewhere {
			all = append(all, w.methodValue(s, m))
			all = append(all, w.methodStructs(m)...)
		}
		if s.serves() {
			all = append(all, w.handler(s, m))
		}
	}
	return all
}

func (w *writer) handshake() declaration {
	return declaration{
		comment("If %s is undefined, run go generate with the version of afgen that matches the runtime.",
			w.qualify(runtimePath, Version)),
		jen.Const().Id("_").Op("=").Add(w.af(Version)),
	}
}

// assertions returns a declaration that doesn't compile if the annotated code has changed since, or nil.
func (w *writer) assertions() declaration {
	var lines []jen.Code
	for _, s := range w.services {
		for _, m := range s.methods {
			if !s.serves() {
				break
			}
			lines = append(lines, w.assertion(s.Type, m.Method))
		}
	}
	for _, k := range w.workers {
		for _, m := range workerMethods(k) {
			if !k.serves() {
				break
			}
			lines = append(lines, w.assertion(k.Type, m))
		}
		if k.serves() && k.OwnBackoff {
			lines = append(lines, w.backoffAssertion(k.Type))
		}
	}
	if lines == nil {
		return nil
	}
	return declaration{
		comment("The annotated code must have these signatures. If one doesn't compile, run go generate."),
		jen.Var().Defs(lines...),
	}
}

// workerMethods returns the methods of a worker that the runtime calls.
func workerMethods(k worker) []ir.Method {
	run := ir.Method{GoName: "Run", Params: []ir.Param{{Type: k.Payload}}}
	if k.Result != nil {
		run.Results = []ir.Param{{Type: *k.Result}}
	}
	if !k.SubtasksDone {
		return []ir.Method{run}
	}
	subtasks := ir.Type{Kind: ir.Named, Path: runtimePath, Name: "Subtasks"}
	return []ir.Method{run, {GoName: "SubtasksDone", Params: []ir.Param{{Type: k.Payload}, {Type: subtasks}}}}
}

// comment returns a generated comment: one line, or one line per sentence if that would be too long.
func comment(format string, args ...any) jen.Code {
	text := "// " + fmt.Sprintf(format, args...)
	if utf8.RuneCountInString(text) > maxLine {
		text = strings.ReplaceAll(text, ". ", ".\n// ")
	}
	return jen.Comment(text)
}

// doc returns the user's doc comment.
func doc(text string) declaration {
	var lines declaration
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" && lines == nil {
			continue
		}
		if line != "" && line[0] != '\t' { // preformatted text follows the slashes directly
			line = " " + line
		}
		if constraint.IsPlusBuild("//" + line) {
			continue // gofmt would move it to the top as a build constraint
		}
		lines = append(lines, jen.Comment("//"+line))
	}
	return lines
}

// paragraph returns the user's doc comment as another paragraph of a generated one.
func paragraph(text string) declaration {
	lines := doc(text)
	if lines == nil {
		return nil
	}
	return append(declaration{jen.Comment("//")}, lines...)
}
