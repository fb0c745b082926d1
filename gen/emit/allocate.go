package emit

import (
	"fmt"
	"go/token"
	"go/types"
	"maps"
	"path"
	"regexp"
	"strconv"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/ir"
)

// A plan is a package and every identifier that its generated file declares at package level or uses for an import.
type plan struct {
	*ir.Package
	services []service
	workers  []worker
	imports  map[string]string // the name by which the file imports a package, by path
	clauses  map[string]string // the name in the package's own clause, by path
	// The qualified names, spelled with clauses, that denote types of more than one package.
	ambiguous map[string]bool
	origin    *ir.Package       // of a client half: the package of the service or worker; otherwise nil
	contract  contract.Contract // has the fingerprints
	// The build constraint of the file, or "".
	constraint string
}

// A side is the side of the wire whose half of a service or worker a file contains. The zero value is both.
type side int

const (
	bothSides side = iota
	serverSide
	clientSide
)

func (s side) serves() bool { return s != clientSide }
func (s side) calls() bool  { return s != serverSide }

type service struct {
	ir.Service
	side
	sharedElsewhere bool   // the file of the other side declares what both need
	helper          string // the af.Service
	// The receiver of the client's methods. No parameter of any method has this name.
	receiver string
	methods  []method
}

func (s service) api() string       { return s.Type + "API" }
func (s service) client() string    { return s.Type + "Client" }
func (s service) newClient() string { return "New" + s.Type + "Client" }
func (s service) register() string  { return "Register" + s.Type }

type method struct {
	ir.Method
	helper  string // the af.Method
	args    string // the struct of the arguments; "" if there are none
	reply   string // the struct of the results; "" if there are none
	handler string // the function that calls the implementation
	// The fields of args and reply, one for each of Params and Results.
	argFields, replyFields []string
}

// names returns the promised names that s declares at package level.
func (s service) names() []string {
	var names []string
	if s.calls() {
		names = append(names, s.api(), s.client(), s.newClient())
	}
	if s.serves() {
		names = append(names, s.register())
	}
	return names
}

type worker struct {
	ir.Worker
	side
	sharedElsewhere bool   // as in service
	helper          string // the af.Worker
}

func (w worker) queue() string    { return w.Type + "Queue" }
func (w worker) newQueue() string { return "New" + w.Type + "Queue" }
func (w worker) register() string { return "Register" + w.Type }

func (w worker) names() []string {
	var names []string
	if w.calls() {
		names = append(names, w.queue(), w.newQueue())
	}
	if w.serves() {
		names = append(names, w.register())
	}
	return names
}

// A scope is a set of taken identifiers.
type scope map[string]bool

func (s scope) take(names ...string) {
	for _, name := range names {
		s[name] = true
	}
}

// pick takes and returns the first free name of wishes. If none is free, it returns the last one with a number
// appended, the lowest from 2 that makes it free.
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

// names are the identifiers of one package: those declared at package level, and those that its files import packages
// by.
type names struct{ taken, importNames scope }

func newNames(taken, importNames []string) names {
	n := names{scope{}, scope{}}
	takeUniverse(n.taken)
	n.taken.take(taken...)
	n.importNames.take(importNames...)
	return n
}

// allocate chooses the identifiers of the files of p.
func allocate(p *ir.Package) (*plan, error) {
	n := newNames(p.Taken, p.ImportNames)
	a, err := allocateNames(p, n, bothSides)
	if err != nil {
		return nil, err
	}
	return a, a.allocateImports(n.taken)
}

// allocateNames chooses what a file for side s declares at package level. If the client half of a service or worker
// belongs to another package, a file for bothSides has only the server half.
func allocateNames(p *ir.Package, n names, s side) (*plan, error) {
	if len(p.Services)+len(p.Workers) == 0 {
		return nil, fmt.Errorf("neither a service nor a worker")
	}
	half := func(client string) side {
		if s == bothSides && client != "" {
			return serverSide
		}
		return s
	}
	a := &plan{Package: p}
	for _, s := range p.Services {
		a.services = append(a.services, service{Service: s, side: half(s.Client)})
	}
	for _, w := range p.Workers {
		a.workers = append(a.workers, worker{Worker: w, side: half(w.Client)})
	}
	if err := a.takeExported(n); err != nil {
		return nil, err
	}
	a.allocateHelpers(n)
	return a, nil
}

// takeUniverse takes the identifiers that no generated name may shadow, those that Go doesn't allow to declare, and
// err, which most functions would shadow.
func takeUniverse(taken scope) {
	taken.take("_", "init", "main", "err")
	taken.take(types.Universe.Names()...)
	for tok := token.BREAK; tok <= token.VAR; tok++ {
		taken.take(tok.String())
	}
}

// takeExported takes the promised names. They can't be changed, so it fails if one is not free. Names of imports in
// other files conflict with declarations at package level, but not with imports of this file.
func (a *plan) takeExported(n names) error {
	var all []string
	for _, s := range a.services {
		all = append(all, s.names()...)
	}
	for _, w := range a.workers {
		all = append(all, w.names()...)
	}
	for _, name := range all {
		if n.taken[name] || n.importNames[name] {
			return fmt.Errorf("the name %s is taken", name)
		}
		n.taken.take(name)
	}
	return nil
}

// allocateHelpers names the package-level declarations that users don't call. It avoids the import names of other
// files, and the names of parameters and results, which would shadow helpers in client methods. Imports may use either:
// import names are per file, and no client method mentions an import.
func (a *plan) allocateHelpers(n names) {
	avoid := maps.Clone(n.importNames)
	for _, s := range a.services {
		for _, m := range s.Methods {
			avoid.take(namesIn(m)...)
		}
	}
	pick := func(wish string) string {
		for {
			if name := n.taken.pick(wish); !avoid[name] {
				return name
			}
		}
	}
	for i := range a.services {
		s := &a.services[i]
		if s.serves() {
			s.helper = pick("af" + s.Type)
		}
		params := scope{}
		for _, m := range s.Methods {
			params.take(namesIn(m)...)
		}
		s.receiver = params.pick("c", "client")
		for _, m := range s.Methods {
			s.methods = append(s.methods, nameMethod(m, "af"+s.Type+m.GoName, s.side, pick))
		}
	}
	for i := range a.workers {
		a.workers[i].helper = pick("af" + a.workers[i].Type)
	}
}

func nameMethod(m ir.Method, wish string, s side, pick func(string) string) method {
	helper := pick(wish)
	named := method{
		Method:      m,
		helper:      helper,
		argFields:   fieldNames(m.Params),
		replyFields: fieldNames(m.Results),
	}
	if s.serves() {
		named.handler = pick(helper + "Handler")
	}
	if len(m.Params) > 0 {
		named.args = pick(helper + "Args")
	}
	if len(m.Results) > 0 {
		named.reply = pick(helper + "Reply")
	}
	return named
}

// namesIn returns the names in the signature of m that the user chose.
func namesIn(m ir.Method) []string {
	names := []string{m.Ctx, m.Err}
	for _, list := range [][]ir.Param{m.Params, m.Results} {
		for _, p := range list {
			names = append(names, p.Name)
		}
	}
	return names
}

// fieldNames returns the name of the struct field for each of params.
func fieldNames(params []ir.Param) []string {
	taken := scope{}
	var names []string
	for _, p := range params {
		names = append(names, taken.pick(exported(p.Member)))
	}
	return names
}

// allocateImports names the imports, beginning with those that any file may need.
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
	a.ambiguous = a.ambiguousNames()
	return nil
}

var (
	majorVersion   = regexp.MustCompile(`^v[0-9]+$`)
	plainDirectory = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
)

// parentOf returns the name of the directory above that of importPath, which distinguishes packages of the same name:
// admin for example.com/admin/user/v2. It returns "" if that name is no plain identifier.
func parentOf(importPath string) string {
	if majorVersion.MatchString(path.Base(importPath)) {
		importPath = path.Dir(importPath)
	}
	parent := path.Base(path.Dir(importPath))
	if !plainDirectory.MatchString(parent) {
		return ""
	}
	return parent
}
