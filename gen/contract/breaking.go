package contract

import (
	"cmp"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// A Finding is a breaking change.
type Finding struct {
	Rule    string
	Warning bool
	// Kind is "service" or "worker". Name is its name on the wire, and Method the wire name of a method, or "".
	Kind, Name, Method string
	// Package is the import path in the current code, and Symbol a type, or a type and a method joined by a dot. If the
	// declaration is gone, Symbol is "" and Package the old import path.
	Package, Symbol string
	Message         string // a phrase
	Why             string // of the rule, with the names of this finding
	Allowed         string // the reason of the //af:allow that covers the finding, or ""
}

// An UnusedAllow is an //af:allow that covers no finding.
type UnusedAllow struct {
	Package, Symbol string // as in Finding
	Rule            string
}

// A Report is the result of [Breaking]. Findings are sorted by package, symbol, name and rule.
type Report struct {
	Findings     []Finding
	UnusedAllows []UnusedAllow
}

// Breaking compares older contracts of packages with the current code. It matches services and workers by their names
// on the wire, in any package. It fails if an older contract is invalid.
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
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Symbol, b.Symbol),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Rule, b.Rule))
	})
	return c.report, nil
}

// A comparison compares one older contract at a time. It pairs old and current declarations, and applies the rules to
// them.
type comparison struct {
	now    map[string]endpoint // of the current code, by id
	known  map[string]bool     // ids of all older contracts
	old    Contract
	defs   *ir.Package // the types of old
	used   map[string]bool
	report Report
}

// compareEndpoint applies the rules to an endpoint of the older contract and its parts.
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

// applyRules reports the findings of all rules in a pair.
func (c *comparison) applyRules(s subject, compared any) {
	for _, r := range rules {
		for _, message := range r.check(compared) {
			c.addFinding(s, r.Rule, message)
		}
	}
}

// A subject is the declaration of findings, with the rules that are allowed there.
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

// ofMethod returns the subject of a method.
func (s subject) ofMethod(method, goName string, allow []ir.Allow) subject {
	s.method, s.symbol = method, s.symbol+"."+goName
	s.allows = slices.Clip(s.allows)
	return s.allowing(allow)
}

// full returns the name of the subject for a message.
func (s subject) full() string { return s.name + "." + s.method }

// addFinding reports a finding, and records the //af:allow that covers it.
func (c *comparison) addFinding(s subject, r Rule, message string) {
	f := Finding{
		Rule: r.ID, Warning: r.Warning, Kind: s.kind, Name: s.name, Method: s.method, Package: s.pkg, Symbol: s.symbol,
		Message: message, Why: advice(r, cmp.Or(s.method, s.name)),
	}
	for _, a := range s.allows {
		if a.Rule == r.ID {
			f.Allowed = a.Reason
			c.used[s.pkg+" "+a.symbol+" "+r.ID] = true
		}
	}
	c.report.Findings = append(c.report.Findings, f)
}

// advice returns r.Why with the name of the older contract: "name=…" becomes "name=Sub".
func advice(r Rule, name string) string { return strings.Replace(r.Why, "name=…", "name="+name, 1) }

// unusedAllows reports the //af:allow directives that cover no finding.
func (c *comparison) unusedAllows(now []*ir.Package) {
	for _, p := range now {
		report := func(symbol string, allow []ir.Allow) {
			for _, a := range allow {
				if !c.used[p.Path+" "+symbol+" "+a.Rule] {
					c.report.UnusedAllows = append(c.report.UnusedAllows, UnusedAllow{p.Path, symbol, a.Rule})
				}
			}
		}
		for _, s := range p.Services {
			report(s.Type, s.Allow)
			for _, m := range s.Methods {
				report(s.Type+"."+m.GoName, m.Allow)
			}
		}
		for _, w := range p.Workers {
			report(w.Type, w.Allow)
		}
	}
}
