package contract

import (
	"cmp"
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
	// Package and Symbol are where to look in the code of now: an import path, and a type, or a type and its method, joined
	// by a dot. Symbol is "" if nothing is left; Package is the older one then.
	Package, Symbol string
	Message         string // a phrase
	Why             string // that of the rule, with the names of this finding
	Allowed         string // the reason of the //af:allow that covers it; "" if none does
}

// An UnusedAllow is an //af:allow that covers no finding.
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
// again by their names on the wire, whichever package they are in. It fails if an older contract can't be read.
func Breaking(old []Contract, now []*ir.Package) (Report, error) {
	c := comparison{now: map[string]endpoint{}, known: map[string]bool{}, used: map[string]bool{}}
	for _, p := range now {
		for _, e := range endpointsNow(p) {
			c.now[e.id()] = e
		}
	}
	for _, o := range old {
		for _, e := range o.endpoints() {
			c.known[e.id()] = true
		}
	}
	for _, o := range old {
		defs, err := o.defs()
		if err != nil {
			return Report{}, err
		}
		c.old, c.defs = o, defs
		for _, e := range o.endpoints() {
			if err := c.compareEndpoint(e); err != nil {
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

// A comparison is at work on one older contract after the other. It finds what belongs together, then and now; the rules
// find what that breaks.
type comparison struct {
	now    map[string]endpoint // of the code, by id
	known  map[string]bool     // the ids of what any older contract has
	old    Contract
	defs   *ir.Package // what old says of types
	used   map[string]bool
	report Report
}

// compareEndpoint has the rules check an endpoint of the older contract and all that it has.
func (c *comparison) compareEndpoint(old endpoint) error {
	p := c.findEndpoint(old)
	s := subject{kind: old.kind, name: old.name, pkg: c.old.Package}
	if p.fate < maybe {
		s = subject{kind: old.kind, name: old.name, pkg: p.now.pkg.Path, symbol: p.now.typ}.allowing(p.now.allow)
	}
	c.applyRules(s, p)
	switch {
	case p.fate >= maybe:
		return nil
	case old.kind == service:
		return c.compareMethods(p, s)
	}
	for _, j := range jobPairs(p) {
		c.applyRules(s, j)
	}
	task, err := c.task(p)
	if err != nil {
		return err
	}
	c.applyRules(s, task)
	return nil
}

func (c *comparison) compareMethods(p endpointPair, s subject) error {
	for _, m := range methodPairs(p) {
		if m.fate >= maybe {
			deleted := s
			deleted.method = m.name
			c.applyRules(deleted, m)
			continue
		}
		s := s.ofMethod(m.name, m.now.GoName, m.now.Allow)
		c.applyRules(s, m)
		params, err := c.values(parameter, s.full(), m.old.Params, m.old.ParamOrder, p.now.pkg, m.now.Params)
		if err != nil {
			return err
		}
		c.applyRules(s, params)
		results, err := c.values(result, s.full(), m.old.Results, m.old.ResultOrder, p.now.pkg, m.now.Results)
		if err != nil {
			return err
		}
		c.applyRules(s, results)
	}
	return nil
}

// applyRules reports what all rules find in something that was compared.
func (c *comparison) applyRules(s subject, compared any) {
	for _, r := range rules {
		for _, message := range r.check(compared) {
			c.addFinding(s, r.Rule, message)
		}
	}
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

func (s subject) allowing(allow []ir.Allow) subject {
	for _, a := range allow {
		s.allows = append(s.allows, allowed{s.symbol, a})
	}
	return s
}

// ofMethod is a method of a subject.
func (s subject) ofMethod(method, goName string, allow []ir.Allow) subject {
	s.method, s.symbol = method, s.symbol+"."+goName
	s.allows = slices.Clip(s.allows)
	return s.allowing(allow)
}

// full names the subject in a message.
func (s subject) full() string { return s.name + "." + s.method }

// addFinding reports a finding, and notes the //af:allow that covers it.
func (c *comparison) addFinding(s subject, r Rule, message string) {
	f := Finding{Rule: r.ID, Warning: r.Warning, Kind: s.kind, Name: s.name, Method: s.method, Package: s.pkg, Symbol: s.symbol,
		Message: message, Why: advice(r, cmp.Or(s.method, s.name))}
	for _, a := range s.allows {
		if a.Rule == r.ID {
			f.Allowed = a.Reason
			c.used[s.pkg+" "+a.symbol+" "+r.ID] = true
		}
	}
	c.report.Findings = append(c.report.Findings, f)
}

// advice returns what a rule says to do, with the name of the older contract: "name=…" becomes "name=Sub".
func advice(r Rule, name string) string { return strings.Replace(r.Why, "name=…", "name="+name, 1) }

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
