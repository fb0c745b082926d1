package scan

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/scan/internal/load"
)

const runtimePath = "github.com/afgen/afgen/runtime"

// analyze converts a checked package to the intermediate representation. It omits declarations with problems, which it
// reports.
func (sc *scanner) analyze(u *unit) *ir.Package {
	p := &ir.Package{
		Path:        u.Pkg.PkgPath,
		Name:        u.Pkg.Name,
		Defs:        map[string]ir.Def{},
		Imports:     map[string]string{},
		Taken:       slices.Sorted(maps.Keys(u.Taken)),
		ImportNames: slices.Sorted(maps.Keys(u.ImportNames)),
	}
	r := &reader{pkg: p, scanner: sc, accepted: map[string]position{}}
	for _, t := range u.types {
		u.WorkOn(t.spec.Pos())
		r.client = clientOf(u, t)
		switch {
		case t.broken:
		case t.isWorker():
			if wk, ok := sc.worker(u, r, t); ok {
				p.Workers = append(p.Workers, wk)
			}
		default:
			p.Services = append(p.Services, sc.service(u, r, t))
		}
	}
	if len(p.Imports) == 0 {
		p.Imports = nil
	}
	if len(p.Defs) == 0 {
		p.Defs = nil
	}
	return p
}

// places returns the positions of the annotated types of a package and of their methods.
func (sc *scanner) places(u *unit) map[string]diag.Pos {
	all := map[string]diag.Pos{}
	note := func(name string, id *ast.Ident) {
		all[name] = load.Pos(sc.Position(id.Pos()))
	}
	for _, t := range u.types {
		note(t.name(), t.spec.Name)
		for _, m := range t.methods {
			note(t.name()+"."+m.decl.Name.Name, m.decl.Name)
		}
	}
	return all
}

// nameOf returns the name on the wire, from the directive or the type.
func nameOf(t *annotated) string {
	name := t.rpc.Name
	if t.isWorker() {
		name = t.worker.Name
	}
	if name == "" {
		name = directive.SnakeCase(t.name())
	}
	return name
}

func (sc *scanner) service(u *unit, r *reader, t *annotated) ir.Service {
	s := ir.Service{
		Type:        t.name(),
		Name:        nameOf(t),
		Doc:         docText(docOf(t.gen, t.spec)),
		Timeout:     t.rpc.Timeout,
		Concurrency: t.rpc.Concurrency,
		Client:      clientOf(u, t),
		Allow:       t.allow,
	}
	names := map[string]*method{}
	remote := 0
	for _, m := range t.methods {
		if m.skip {
			continue
		}
		remote++
		u.WorkOn(m.decl.Name.Pos())
		im, ok := sc.method(u, r, t, m)
		if !ok {
			continue
		}
		other := names[im.Name]
		if other != nil && other.decl.Name.Name == im.GoName {
			continue // declared twice, which the checker has reported
		}
		if other != nil {
			sc.ReportAt(m.decl.Name, diag.DuplicateMethod,
				fmt.Sprintf("method name %q of service %s is already used by %s", im.Name, s.Name, other.decl.Name.Name),
				"give one of them another name with //af:method name=…")
			continue
		}
		names[im.Name] = m
		s.Methods = append(s.Methods, im)
	}
	if remote == 0 {
		sc.reportDirective(t.directive, diag.NoMethods, fmt.Sprintf("service %s has no remote method", s.Type),
			"declare an exported method on "+s.Type+": func(ctx context.Context, …) (…, error)")
	}
	return s
}

// method converts one remote method. It reports false if the method has problems.
func (sc *scanner) method(u *unit, r *reader, t *annotated, m *method) (ir.Method, bool) {
	d := m.decl
	out := ir.Method{
		GoName:     d.Name.Name,
		Name:       m.options.Name,
		Doc:        docText(d.Doc),
		Timeout:    m.options.Timeout,
		Idempotent: m.options.Idempotent,
		Allow:      m.allow,
	}
	if out.Name == "" {
		out.Name = out.GoName
	}
	if out.Timeout == 0 {
		out.Timeout = t.rpc.Timeout
	}
	f, ok := u.Defs[d.Name].(*types.Func)
	if !ok {
		return out, false // declared twice, which the compiler reports
	}
	if !directive.ValidName(out.Name) {
		sc.ReportAt(d.Name, diag.BadValue,
			fmt.Sprintf("method %s would be called %q, which is not a valid name", out.GoName, out.Name),
			"give it a name with //af:method name=…: "+directive.NameRule)
	}
	sig := f.Signature()
	fine := sc.checkShape(u, d, sig)
	params, results := payloadOf(sig)
	if !fine { // a misplaced context or error has been reported
		params, results = slices.DeleteFunc(params, isStray), slices.DeleteFunc(results, isStray)
	}
	out.Ctx, out.Variadic = contextName(sig), sig.Variadic()
	out.Named, out.Err = resultNames(sig)
	ok = sc.convertMembers(u, r, d, "parameter", params, &out.Params) && fine
	ok = sc.convertMembers(u, r, d, "result", results, &out.Results) && ok
	return out, ok
}

// checkShape reports a method whose first parameter is not a context or whose last result is not an error. It accepts
// unresolved types, which have been reported.
func (sc *scanner) checkShape(u *unit, d *ast.FuncDecl, sig *types.Signature) bool {
	name := d.Name.Name
	skip := ", or mark it //af:skip if it isn't remote"
	noContext, noError := lacksContext(sig), lacksError(sig)
	if noContext {
		message, hint := fmt.Sprintf("the first parameter of %s is not a context.Context", name), "write"
		if anyOf(sig.Params(), isContext) {
			message, hint = fmt.Sprintf("the context.Context of %s is not its first parameter", name), "move it to the front:"
		}
		sc.ReportAt(d.Name, diag.NoContext, message, fmt.Sprintf("%s func %s(ctx context.Context, …)%s", hint, name, skip))
	}
	if noError {
		message, hint := fmt.Sprintf("the last result of %s is not an error", name), "any call can fail: return an error last"
		if anyOf(sig.Results(), isError) {
			message, hint = fmt.Sprintf("the error of %s is not its last result", name), "move it to the end"
		}
		sc.ReportAt(d.Name, diag.NoError, message, hint+skip)
	}
	return !noContext && !noError
}

func lacksContext(sig *types.Signature) bool {
	p := sig.Params()
	return p.Len() == 0 || sig.Variadic() && p.Len() == 1 || !isContext(p.At(0).Type()) && !isInvalid(p.At(0).Type())
}

func lacksError(sig *types.Signature) bool {
	n := sig.Results().Len()
	return n == 0 || !isError(sig.Results().At(n-1).Type()) && !isInvalid(sig.Results().At(n-1).Type())
}

func anyOf(vars *types.Tuple, is func(types.Type) bool) bool {
	for v := range vars.Variables() {
		if is(v.Type()) {
			return true
		}
	}
	return false
}

// isStray reports whether a parameter or result is a context or an error, or a pointer to or slice of one.
func isStray(v *types.Var) bool {
	t := v.Type()
	for {
		switch x := t.(type) {
		case *types.Pointer:
			t = x.Elem()
		case *types.Slice:
			t = x.Elem()
		default:
			return isContext(t) || isError(t)
		}
	}
}

// payloadOf returns the parameters after the context, if any, and the results before the error, if any.
func payloadOf(sig *types.Signature) (params, results []*types.Var) {
	params = slices.Collect(sig.Params().Variables())
	if len(params) > 0 && isContext(params[0].Type()) {
		params = params[1:]
	}
	results = slices.Collect(sig.Results().Variables())
	if n := len(results); n > 0 && isError(results[n-1].Type()) {
		results = results[:n-1]
	}
	return params, results
}

func contextName(sig *types.Signature) string {
	if sig.Params().Len() == 0 || sig.Params().At(0).Name() == "_" {
		return ""
	}
	return sig.Params().At(0).Name()
}

// resultNames reports whether results are named, and returns the name of the error.
func resultNames(sig *types.Signature) (named bool, err string) {
	n := sig.Results().Len()
	if n == 0 || sig.Results().At(n-1).Name() == "" {
		return false, ""
	}
	if err = sig.Results().At(n - 1).Name(); err == "_" {
		err = ""
	}
	return true, err
}

// convertMembers converts parameters or results to members of a JSON object. It reports those that can't be sent.
func (sc *scanner) convertMembers(
	u *unit, r *reader, d *ast.FuncDecl, kind string, vars []*types.Var, out *[]ir.Param,
) bool {
	ok := true
	seen := map[string]bool{}
	for i, v := range vars {
		p := ir.Param{Name: v.Name(), Member: v.Name()}
		what := kind + " " + p.Name
		if p.Name == "" || p.Name == "_" {
			p.Name, p.Member = "", unnamed(kind, i, len(vars))
			what = p.Member
			if kind == "parameter" {
				r.at = v.Pos()
				r.apply(unnamedParameter{d.Name.Name, i + 1}, p.Member)
			}
		}
		if seen[p.Member] {
			sc.ReportAt(d.Name, diag.DuplicateMember,
				fmt.Sprintf("two %ss of %s are called %q on the wire", kind, d.Name.Name, p.Member),
				"an unnamed one is called by its position: name it")
			ok = false
		}
		seen[p.Member] = true
		if p.Type, ok = sc.convertType(u, r, d, what, v, ok); ok {
			*out = append(*out, p)
		}
	}
	return ok
}

// unnamed returns the name of an unnamed parameter or result on the wire.
func unnamed(kind string, i, n int) string {
	switch {
	case kind == "parameter":
		return "arg" + strconv.Itoa(i)
	case n == 1:
		return "result"
	}
	return "result" + strconv.Itoa(i)
}

// convertType converts the type of v, a parameter or result, or reports at v or a field why it can't be sent. It
// returns false if it reports a problem or ok is false.
func (sc *scanner) convertType(
	u *unit, r *reader, d *ast.FuncDecl, what string, v *types.Var, ok bool,
) (ir.Type, bool) {
	r.invalid, r.at = false, v.Pos()
	spelled, no := r.spellType(sc.clientSpelling(u, r.client, v.Type()), what, addressable)
	for _, warning := range r.warnings {
		if !sc.warned[warning.at] { // once, even if several methods send the field
			sc.warned[warning.at] = true
			sc.warnings = append(sc.warnings, sc.diagnostic(d, warning))
		}
	}
	r.warnings = nil
	if no != nil {
		problem := sc.diagnostic(d, *no)
		if no.at == v.Pos() || !sc.reported(problem.Pos) {
			sc.problems = append(sc.problems, problem)
		}
		return spelled, false
	}
	if r.invalid {
		if !sc.typeErrorReported() {
			hint := "go build reports the reason"
			if slices.ContainsFunc(u.Files, func(f *load.File) bool { return f.Imports["C"] != "" }) {
				hint = "C types can't be sent: convert them to Go types"
			}
			sc.ReportAt(d.Name, diag.TypeError,
				fmt.Sprintf("%s: the type of %s can't be resolved", d.Name.Name, what), hint)
		}
		return spelled, false
	}
	return spelled, ok
}

// typeErrorReported reports whether a diagnostic explains why a type can't be resolved. There is one if the error is in
// the user's code, not in a dependency.
func (sc *scanner) typeErrorReported() bool {
	return slices.ContainsFunc(sc.problems, func(p diag.Diagnostic) bool {
		return p.Code == diag.TypeError || p.Code == diag.NotLoaded || p.Code == diag.SyntaxError
	})
}

// worker converts a worker. It reports false if the worker has problems.
func (sc *scanner) worker(u *unit, r *reader, t *annotated) (ir.Worker, bool) {
	options := t.worker
	out := ir.Worker{
		Type: t.name(), Name: nameOf(t), Doc: docText(docOf(t.gen, t.spec)),
		Max: options.Max, Timeout: options.Timeout, Retries: options.Retries, MaxCrashes: options.MaxCrashes,
		Backoff: options.Backoff, BackoffMax: options.BackoffMax, Weight: options.Weight, Isolation: options.Isolation,
		Client: clientOf(u, t), Allow: t.allow,
	}
	for _, j := range t.jobs {
		out.Jobs = append(out.Jobs, ir.Job(j.options))
	}
	slices.SortFunc(out.Jobs, func(a, b ir.Job) int { return strings.Compare(a.ID, b.ID) })
	run := t.methodNamed("Run")
	if run == nil {
		sc.reportDirective(t.directive, diag.NoRun, fmt.Sprintf("worker %s has no Run method", t.name()),
			fmt.Sprintf("declare func (w *%s) Run(ctx context.Context, payload P) error, or (R, error)", t.name()))
		return out, false
	}
	f, ok := u.Defs[run.Name].(*types.Func)
	if !ok {
		return out, false
	}
	sig := f.Signature()
	params, results := payloadOf(sig)
	if sc.typeErrorReported() && (anyOf(sig.Params(), isInvalid) || anyOf(sig.Results(), isInvalid)) {
		return out, false
	}
	if why := runFault(sig, params, results); why != "" {
		sc.ReportAt(run.Name, diag.BadRun, "Run of "+t.name()+" "+why,
			"declare it as func(ctx context.Context, payload P) error, or with results (R, error)")
		return out, false
	}
	out.Payload, ok = sc.convertType(u, r, run, "payload", params[0], true)
	if len(results) == 1 {
		var result ir.Type
		if result, ok = sc.convertType(u, r, run, "result", results[0], ok); ok {
			out.Result = &result
		}
	}
	if done := t.methodNamed("SubtasksDone"); done != nil {
		out.SubtasksDone = true
		f, _ := u.Defs[done.Name].(*types.Func)
		switch {
		case f == nil:
			return out, false // declared twice
		case isSubtasksDone(f.Signature(), params[0].Type()):
		case sc.typeErrorReported() && anyOf(f.Signature().Params(), isInvalid):
			return out, false
		default:
			sc.ReportAt(done.Name, diag.BadSubtasksDone, "SubtasksDone of "+t.name()+" has the wrong signature",
				fmt.Sprintf("declare it as func(ctx context.Context, payload %s, s af.Subtasks) error, with the payload of Run",
					r.distinct(params[0].Type(), f.Signature().Params())))
			return out, false
		}
	}
	own, valid := sc.ownBackoff(u, t)
	out.OwnBackoff = own
	return out, ok && valid
}

// methodNamed returns the declaration of a method, or nil.
func (t *annotated) methodNamed(name string) *ast.FuncDecl {
	for _, m := range t.methods {
		if m.decl.Name.Name == name {
			return m.decl
		}
	}
	return nil
}

// runFault returns the problem with the signature of a worker's Run method, or "".
func runFault(sig *types.Signature, params, results []*types.Var) string {
	switch {
	case lacksContext(sig):
		return "has no context.Context as its first parameter"
	case len(params) == 0:
		return "has no payload"
	case len(params) > 1:
		return fmt.Sprintf("has %d payloads, but a task has one", len(params))
	case sig.Variadic():
		return "is variadic"
	case lacksError(sig):
		return "has no error as its last result"
	case len(results) > 1:
		return fmt.Sprintf("has %d results and an error, but a task has at most one result", len(results))
	}
	return ""
}

func isSubtasksDone(sig *types.Signature, payload types.Type) bool {
	if sig.Params().Len() != 3 || sig.Variadic() || sig.Results().Len() != 1 {
		return false
	}
	p := sig.Params()
	return isContext(p.At(0).Type()) && types.Identical(p.At(1).Type(), payload) && isSubtasks(p.At(2).Type()) &&
		isError(sig.Results().At(0).Type())
}

// distinct returns a type for a message, with its import path if a different type of vars is spelled the same.
func (r *reader) distinct(t types.Type, vars *types.Tuple) string {
	spelled := r.typeString(t)
	for v := range vars.Variables() {
		if !types.Identical(v.Type(), t) && r.typeString(v.Type()) == spelled {
			return types.TypeString(t, nil)
		}
	}
	return spelled
}

func isSubtasks(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == runtimePath && n.Obj().Name() == "Subtasks"
}

// docText returns the text of a doc comment without directives.
func docText(doc *ast.CommentGroup) string { return strings.TrimSpace(doc.Text()) }
