package contract

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A Finding is one way in which the code of now breaks those who rely on an older contract.
type Finding struct {
	Rule    string
	Warning bool
	// What it is about: Kind is "service" or "worker", Name its name on the wire, Method that of a method, or "".
	Kind, Name, Method string
	// Package and Symbol say where to look in the code of now: an import path, and a type, or a type and its method, joined
	// by a dot. Symbol is "" where nothing is left; Package is the older one then.
	Package, Symbol string
	Message         string // a phrase
	Why             string // that of the rule, with the names of this finding
	Allowed         string // the reason of the //af:allow that covers it; "" where none does
}

// A UnusedAllow is an //af:allow that covers no finding.
type UnusedAllow struct {
	Package, Symbol string // as of a Finding
	Rule            string
}

// A Report is what a comparison has found, sorted by package, symbol, name and rule.
type Report struct {
	Findings     []Finding
	UnusedAllows []UnusedAllow
}

// Breaking compares the contracts of some packages, as they were, with the code of now. Services and workers are found
// again by their names on the wire, whichever package they are in. It fails where an older contract can't be read.
func Breaking(old []Contract, now []*ir.Package) (Report, error) {
	c := comparison{services: map[string]nowService{}, workers: map[string]nowWorker{}, known: map[string]bool{}, used: map[string]bool{}}
	for _, p := range now {
		made := Of(p)
		for _, s := range p.Services {
			c.services[s.Name] = nowService{p, s, made.Services[s.Name]}
		}
		for _, w := range p.Workers {
			c.workers[w.Name] = nowWorker{p, w, made.Workers[w.Name]}
		}
	}
	for _, o := range old {
		for name := range o.Services {
			c.known["service "+name] = true
		}
		for name := range o.Workers {
			c.known["worker "+name] = true
		}
	}
	for _, o := range old {
		defs, err := o.defs()
		if err != nil {
			return Report{}, err
		}
		c.old, c.defs = o, defs
		for _, name := range slices.Sorted(maps.Keys(o.Services)) {
			if err := c.service(name, o.Services[name]); err != nil {
				return Report{}, err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(o.Workers)) {
			if err := c.worker(name, o.Workers[name]); err != nil {
				return Report{}, err
			}
		}
	}
	c.unusedAllows(now)
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Rule, b.Rule))
	})
	return c.report, nil
}

type nowService struct {
	pkg *ir.Package
	ir.Service
	contract Service
}

type nowWorker struct {
	pkg *ir.Package
	ir.Worker
	contract Worker
}

// A comparison is at work on one older contract after the other.
type comparison struct {
	services map[string]nowService // of now, by name
	workers  map[string]nowWorker
	known    map[string]bool // "service " or "worker " and the name of what any older contract has
	old      Contract
	defs     *ir.Package // what old says of types
	used     map[string]bool
	report   Report
}

// A subject is what findings are about, and what is allowed there.
type subject struct {
	kind, name, method string
	pkg, symbol        string
	allows             []allowed
}

type allowed struct {
	symbol string
	ir.Allow
}

// at is a subject in the code of now.
func at(kind, name string, pkg *ir.Package, typ string, allow []ir.Allow) subject {
	return subject{kind: kind, name: name, pkg: pkg.Path, symbol: typ}.allowing(allow)
}

func (s subject) allowing(allow []ir.Allow) subject {
	for _, a := range allow {
		s.allows = append(s.allows, allowed{s.symbol, a})
	}
	return s
}

// of is a method of a subject.
func (s subject) of(method, goName string, allow []ir.Allow) subject {
	s.method, s.symbol = method, s.symbol+"."+goName
	s.allows = slices.Clip(s.allows)
	return s.allowing(allow)
}

func (c *comparison) found(s subject, rule, format string, args ...any) {
	r, _ := LookupRule(rule)
	f := Finding{Rule: rule, Warning: r.Warning, Kind: s.kind, Name: s.name, Method: s.method, Package: s.pkg, Symbol: s.symbol,
		Message: fmt.Sprintf(format, args...), Why: advice(r, cmp.Or(s.method, s.name))}
	for _, a := range s.allows {
		if a.Rule == rule {
			f.Allowed = a.Reason
			c.used[s.pkg+" "+a.symbol+" "+rule] = true
		}
	}
	c.report.Findings = append(c.report.Findings, f)
}

// unusedAllows finds what is allowed and not needed.
func (c *comparison) unusedAllows(now []*ir.Package) {
	for _, p := range now {
		look := func(symbol string, allow []ir.Allow) {
			for _, a := range allow {
				if !c.used[p.Path+" "+symbol+" "+a.Rule] {
					c.report.UnusedAllows = append(c.report.UnusedAllows, UnusedAllow{p.Path, symbol, a.Rule})
				}
			}
		}
		for _, s := range p.Services {
			look(s.Type, s.Allow)
			for _, m := range s.Methods {
				look(s.Type+"."+m.GoName, m.Allow)
			}
		}
		for _, w := range p.Workers {
			look(w.Type, w.Allow)
		}
	}
}

func (c *comparison) service(name string, old Service) error {
	now, ok := c.services[name]
	if !ok {
		gone := subject{kind: "service", name: name, pkg: c.old.Package}
		for _, other := range c.services {
			if _, before := c.old.Services[other.Name]; other.pkg.Path == c.old.Package && other.Type == old.Type && !before {
				s := at("service", name, other.pkg, other.Type, other.Allow)
				c.found(s, ServiceRenamed, "service %s is called %s now", name, other.Name)
				return c.methods(name, old, other, s)
			}
		}
		renamed, ok := c.renamedServices()[name]
		switch {
		case ok && renamed.signed:
			now := renamed.now
			s := at("service", name, now.pkg, now.Type, now.Allow)
			c.found(s, ServiceRenamed, "service %s (type %s) is called %s (type %s) now", name, old.Type, now.Name, now.Type)
			return c.methods(name, old, now, s)
		case ok:
			c.found(gone, ServiceDeleted, "service %s (type %s) is gone; if it is %s now, //af:rpc name=%s keeps the wire name",
				name, old.Type, renamed.now.Type, name)
		default:
			c.found(gone, ServiceDeleted, "service %s (type %s) is gone", name, old.Type)
		}
		return nil
	}
	s := at("service", name, now.pkg, now.Type, now.Allow)
	if old.Client != now.Client {
		c.found(s, ClientMoved, "the client half of %s was in %s and is in %s", name, clientPlace(old.Client), clientPlace(now.Client))
	}
	return c.methods(name, old, now, s)
}

func clientPlace(client string) string {
	if client == "" {
		return "the type's own package"
	}
	return client
}

func (c *comparison) methods(service string, old Service, now nowService, s subject) error {
	renamed := renamedMethods(old, now)
	for _, name := range slices.Sorted(maps.Keys(old.Methods)) {
		before := old.Methods[name]
		i := slices.IndexFunc(now.Methods, func(m ir.Method) bool { return m.Name == name })
		if i < 0 {
			r, ok := renamed[name]
			deleted := s
			deleted.method = name
			switch i = goNamed(old, name, now); {
			case i >= 0:
				m := now.Methods[i]
				c.found(s.of(name, m.GoName, m.Allow), MethodRenamed, "method %s of service %s is called %s on the wire now", name, service, m.Name)
			case ok && r.signed:
				m := r.now
				i = slices.IndexFunc(now.Methods, func(n ir.Method) bool { return n.Name == m.Name })
				c.found(s.of(name, m.GoName, m.Allow), MethodRenamed, "method %s of service %s is called %s now", name, service, m.Name)
			case ok:
				c.found(deleted, MethodDeleted, "method %s of service %s is gone; if it is %s now, //af:method name=%s keeps the wire name",
					name, service, r.now.GoName, name)
				continue
			default:
				c.found(deleted, MethodDeleted, "method %s of service %s is gone", name, service)
				continue
			}
		}
		m := now.Methods[i]
		if err := c.method(before, now, m, s.of(name, m.GoName, m.Allow)); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) method(old Method, now nowService, m ir.Method, s subject) error {
	if old.Idempotent && !m.Idempotent {
		c.found(s, MethodNotIdempotent, "%s is no longer idempotent", s.full())
	}
	params := values{"parameter", ParameterAdded, ParameterRemoved, ParameterRenamed, ParameterRetyped, ParametersReordered, true}
	if err := c.values(params, old.Params, old.ParamOrder, now.pkg, m.Params, s); err != nil {
		return err
	}
	results := values{"result", ResultAdded, ResultRemoved, ResultRenamed, ResultRetyped, ResultsReordered, false}
	return c.values(results, old.Results, old.ResultOrder, now.pkg, m.Results, s)
}

// full names the subject in a message.
func (s subject) full() string { return s.name + "." + s.method }

// values are parameters or results, with the rules that hold for them.
type values struct {
	what                                         string
	added, removed, renamed, retyped, rearranged string
	received                                     bool // by the code of now, which so may miss fields
}

// named is one of them in a message.
func (v values) named(member string) string {
	if member == v.what { // of a result without a name
		return member
	}
	return v.what + " " + member
}

// values compares the parameters or the results of a method.
func (c *comparison) values(v values, old map[string]string, order string, now *ir.Package, params []ir.Param, s subject) error {
	was := map[string]ir.Type{}
	for member, spelled := range old {
		t, err := c.old.parse(spelled)
		if err != nil {
			return err
		}
		was[member] = t
	}
	is := map[string]ir.Type{}
	for _, p := range params {
		is[p.Member] = p.Type
	}
	renamed := c.renamed(was, is, now)
	for _, member := range slices.Sorted(maps.Keys(was)) {
		switch n, still := is[member]; {
		case still:
			c.changes(v, member, differences(c.defs, now, was[member], n), s)
		case renamed[member] != "":
			c.found(s, v.renamed, "%s of %s is called %s now", v.named(member), s.full(), renamed[member])
		default:
			c.found(s, v.removed, "%s (%s) of %s is gone", v.named(member), spelling(c.defs, was[member]), s.full())
		}
	}
	taken := slices.Collect(maps.Values(renamed))
	for _, p := range params {
		if _, before := was[p.Member]; !before && !slices.Contains(taken, p.Member) {
			c.found(s, v.added, "%s (%s) of %s is new", v.named(p.Member), spelling(now, p.Type), s.full())
		}
	}
	if a, b := swapped(strings.Split(order, ", "), params); a != "" {
		c.found(s, v.rearranged, "%ss %s and %s of %s are of one type and have changed places", v.what, a, b, s.full())
	}
	return nil
}

// renamed finds the one new member that sends what the one lost member did.
func (c *comparison) renamed(was, is map[string]ir.Type, now *ir.Package) map[string]string {
	lost := slices.DeleteFunc(slices.Sorted(maps.Keys(was)), func(m string) bool { _, ok := is[m]; return ok })
	fresh := slices.DeleteFunc(slices.Sorted(maps.Keys(is)), func(m string) bool { _, ok := was[m]; return ok })
	if len(lost) == 1 && len(fresh) == 1 && same(c.defs, now, was[lost[0]], is[fresh[0]]) {
		return map[string]string{lost[0]: fresh[0]}
	}
	return nil
}

// changes reports what has changed in the type of one parameter or result.
func (c *comparison) changes(v values, member string, changes []change, s subject) {
	for _, ch := range changes {
		rule := FieldRetyped
		switch {
		case ch.kind == added && !v.received:
			continue // older callers ignore it
		case ch.kind == added:
			rule = FieldAdded
		case ch.kind == removed:
			rule = FieldRemoved
		case !strings.Contains(ch.path, "."):
			rule = v.retyped
		}
		c.found(s, rule, "%s of %s: %s", v.named(member), s.full(), ch)
	}
}

// swapped returns two neighbours of one type that have changed places; "" where there are none.
func swapped(order []string, params []ir.Param) (first, second string) {
	place := map[string]int{}
	for i, member := range order {
		place[member] = i
	}
	for i, p := range params {
		for _, q := range params[i+1:] {
			pi, known := place[p.Member]
			qi, alsoKnown := place[q.Member]
			if known && alsoKnown && pi > qi && p.Type.Equal(q.Type) {
				return q.Member, p.Member
			}
		}
	}
	return "", ""
}

func (c *comparison) worker(name string, old Worker) error {
	now, ok := c.workers[name]
	if !ok {
		for _, other := range c.workers {
			if _, before := c.old.Workers[other.Name]; other.pkg.Path == c.old.Package && other.Type == old.Type && !before {
				s := at("worker", name, other.pkg, other.Type, other.Allow)
				c.found(s, WorkerRenamed, "the queue of worker %s was %s and is %s", other.Type, name, other.Name)
				return c.task(old, other, s)
			}
		}
		gone := subject{kind: "worker", name: name, pkg: c.old.Package}
		renamed, ok := c.renamedWorkers()[name]
		switch {
		case ok && renamed.signed:
			now := renamed.now
			s := at("worker", name, now.pkg, now.Type, now.Allow)
			c.found(s, WorkerRenamed, "worker %s (type %s) is called %s (type %s) now", name, old.Type, now.Name, now.Type)
			return c.task(old, now, s)
		case ok:
			c.found(gone, WorkerDeleted, "worker %s (type %s) is gone; if it is %s now, //af:worker name=%s keeps the name of its queue",
				name, old.Type, renamed.now.Type, name)
		default:
			c.found(gone, WorkerDeleted, "worker %s (type %s) is gone", name, old.Type)
		}
		return nil
	}
	s := at("worker", name, now.pkg, now.Type, now.Allow)
	if old.Client != now.Client {
		c.found(s, ClientMoved, "the client half of %s was in %s and is in %s", name, clientPlace(old.Client), clientPlace(now.Client))
	}
	return c.task(old, now, s)
}

// jobs compares when a worker's jobs are due.
func (c *comparison) jobs(old, now map[string]Job, s subject) {
	for _, id := range slices.Sorted(maps.Keys(old)) {
		was := old[id]
		switch is, still := now[id]; {
		case !still:
			c.found(s, ScheduleDeleted, "job %s of %s is gone", id, s.name)
		case was.Cron != is.Cron || was.Zone != is.Zone:
			c.found(s, ScheduleChanged, "job %s of %s was due at %q (%s) and is at %q (%s)", id, s.name, was.Cron, was.Zone, is.Cron, is.Zone)
		}
	}
}

// task compares what a queue's tasks carry, and when its jobs are due.
func (c *comparison) task(old Worker, now nowWorker, s subject) error {
	c.jobs(old.Jobs, now.contract.Jobs, s)
	payload, err := c.old.parse(old.Payload.Type)
	if err != nil {
		return err
	}
	for _, ch := range differences(c.defs, now.pkg, payload, now.Payload) {
		c.found(s, PayloadChanged, "payload of %s: %s", s.name, ch)
	}
	if old.Result == nil {
		return nil
	}
	result, err := c.old.parse(old.Result.Type)
	if err != nil {
		return err
	}
	if now.Result == nil {
		c.found(s, TaskResultChanged, "result of %s (%s) is gone", s.name, spelling(c.defs, result))
		return nil
	}
	for _, ch := range differences(c.defs, now.pkg, result, *now.Result) {
		if ch.kind != added {
			c.found(s, TaskResultChanged, "result of %s: %s", s.name, ch)
		}
	}
	return nil
}
