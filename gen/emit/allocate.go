package emit

import (
	"fmt"
	"go/token"
	"go/types"
	"maps"
	"path"
	"regexp"
	"strconv"

	"github.com/afgen/afgen/gen/ir"
)

// A plan is a package with every identifier decided that its generated file declares at package level or imports by.
type plan struct {
	*ir.Package
	services []service
	workers  []worker
	imports  map[string]string // what the file calls a package, by path
	clauses  map[string]string // what that package calls itself
}

type service struct {
	ir.Service
	helper  string // the af.Service
	methods []method
}

func (s service) api() string       { return s.Type + "API" }
func (s service) client() string    { return s.Type + "Client" }
func (s service) newClient() string { return "New" + s.Type + "Client" }
func (s service) register() string  { return "Register" + s.Type }

type method struct {
	ir.Method
	helper  string // the af.Method
	args    string // the struct of the arguments; noStruct where there are none
	reply   string // the struct of the results; noStruct where there are none
	handler string // the function that calls the implementation
	// The fields of args and reply, one for each of Params and Results.
	argFields, replyFields []string
}

const noStruct = "struct{}"

type worker struct {
	ir.Worker
	helper string // the af.Worker
}

func (w worker) queue() string    { return w.Type + "Queue" }
func (w worker) newQueue() string { return "New" + w.Type + "Queue" }
func (w worker) register() string { return "Register" + w.Type }

// A scope hands out identifiers, none twice.
type scope map[string]bool

func (s scope) take(names ...string) {
	for _, name := range names {
		s[name] = true
	}
}

// pick returns the first of the wishes that is free, or the last one with the lowest digit from 2 that makes it free.
func (s scope) pick(wishes ...string) string {
	last := wishes[len(wishes)-1]
	for i := 2; ; i++ {
		for _, name := range wishes {
			if !s[name] {
				s.take(name)
				return name
			}
		}
		wishes = []string{last + strconv.Itoa(i)}
	}
}

// allocate decides the identifiers.
func allocate(p *ir.Package) (*plan, error) {
	if len(p.Services)+len(p.Workers) == 0 {
		return nil, fmt.Errorf("neither a service nor a worker")
	}
	taken := scope{}
	takeUniverse(taken)
	taken.take(p.Taken...)
	elsewhere := scope{}
	elsewhere.take(p.ImportNames...)
	if err := takeExported(taken, elsewhere, p); err != nil {
		return nil, err
	}
	a := &plan{Package: p}
	a.allocateHelpers(taken, elsewhere)
	return a, a.allocateImports(taken)
}

// takeUniverse takes what no generated name may hide, what Go doesn't let be declared, and err, which would be hidden in
// most functions.
func takeUniverse(taken scope) {
	taken.take("_", "init", "main", "err")
	taken.take(types.Universe.Names()...)
	for tok := token.BREAK; tok <= token.VAR; tok++ {
		taken.take(tok.String())
	}
}

// takeExported takes the promised names. They are not for us to change, so it fails where one isn't free. What other
// files import by, elsewhere, is taken at package level, but not for imports.
func takeExported(taken, elsewhere scope, p *ir.Package) error {
	var names []string
	for _, s := range p.Services {
		s := service{Service: s}
		names = append(names, s.api(), s.client(), s.newClient(), s.register())
	}
	for _, w := range p.Workers {
		w := worker{Worker: w}
		names = append(names, w.queue(), w.newQueue(), w.register())
	}
	for _, name := range names {
		if taken[name] || elsewhere[name] {
			return fmt.Errorf("the name %s is taken", name)
		}
		taken.take(name)
	}
	return nil
}

// allocateHelpers names what the generated file declares for itself. Besides what is taken it avoids what other files
// import by, and the names of parameters and results, which would hide helpers in the bodies of client methods. Both
// stay free for imports: those are per file, and no such body mentions one.
func (a *plan) allocateHelpers(taken, elsewhere scope) {
	avoid := maps.Clone(elsewhere)
	for _, s := range a.Services {
		for _, m := range s.Methods {
			avoid.take(namesIn(m)...)
		}
	}
	pick := func(wish string) string {
		for {
			if name := taken.pick(wish); !avoid[name] {
				return name
			}
		}
	}
	for _, s := range a.Services {
		named := service{Service: s, helper: pick("af" + s.Type)}
		for _, m := range s.Methods {
			named.methods = append(named.methods, nameMethod(m, "af"+s.Type+m.GoName, pick))
		}
		a.services = append(a.services, named)
	}
	for _, w := range a.Workers {
		a.workers = append(a.workers, worker{Worker: w, helper: pick("af" + w.Type)})
	}
}

func nameMethod(m ir.Method, wish string, pick func(string) string) method {
	helper := pick(wish)
	named := method{
		Method:      m,
		helper:      helper,
		args:        noStruct,
		reply:       noStruct,
		handler:     pick(helper + "Handler"),
		argFields:   fieldNames(m.Params),
		replyFields: fieldNames(m.Results),
	}
	if len(m.Params) > 0 {
		named.args = pick(helper + "Args")
	}
	if len(m.Results) > 0 {
		named.reply = pick(helper + "Reply")
	}
	return named
}

// namesIn returns the user's names in the signature of m.
func namesIn(m ir.Method) []string {
	names := []string{m.Ctx, m.Err}
	for _, list := range [][]ir.Param{m.Params, m.Results} {
		for _, p := range list {
			names = append(names, p.Name)
		}
	}
	return names
}

// fieldNames names the field of each member.
func fieldNames(params []ir.Param) []string {
	taken := scope{}
	var names []string
	for _, p := range params {
		names = append(names, taken.pick(exported(p.Member)))
	}
	return names
}

// allocateImports names the imports, those that every file may need first.
func (a *plan) allocateImports(taken scope) error {
	a.clauses = map[string]string{runtimePath: "af", "context": "context", "time": "time"}
	a.imports = map[string]string{}
	for _, importPath := range []string{runtimePath, "context", "time"} {
		a.imports[importPath] = taken.pick(a.clauses[importPath])
	}
	for _, importPath := range a.Mentioned() {
		if _, done := a.imports[importPath]; done {
			continue
		}
		name := a.Imports[importPath]
		if !token.IsIdentifier(name) {
			return fmt.Errorf("no package name for import path %q", importPath)
		}
		a.clauses[importPath] = name
		a.imports[importPath] = taken.pick(name, parentOf(importPath)+name)
	}
	return nil
}

var (
	majorVersion = regexp.MustCompile(`^v[0-9]+$`)
	plainFolder  = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
)

// parentOf returns the folder above that of importPath, which tells packages of one name apart: admin for
// example.com/admin/user/v2. It returns "" where that is no name that one would give.
func parentOf(importPath string) string {
	if majorVersion.MatchString(path.Base(importPath)) {
		importPath = path.Dir(importPath)
	}
	parent := path.Base(path.Dir(importPath))
	if !plainFolder.MatchString(parent) {
		return ""
	}
	return parent
}
