package scan

import (
	"fmt"
	"slices"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/internal/suggest"
)

// annotateAllow applies an //af:allow directive, or reports a problem.
func (sc *scanner) annotateAllow(u *unit, n note) {
	d := n.directive
	to, where := sc.allowsOf(u, n)
	if to == nil {
		sc.reportDirective(d, diag.Misplaced, "//af:allow is on "+where, "it belongs on "+belongsOn(d))
		return
	}
	allow := d.Allow()
	if allow.Rule == "" || allow.Reason == "" {
		return // reported by directive.Scan
	}
	if _, ok := contract.LookupRule(allow.Rule); !ok {
		rule, _ := d.Arg("rule")
		hint := "docs/breaking.md lists the rules; afgen breaking prints the rule of each finding"
		if near, ok := suggest.Nearest(allow.Rule, contract.RuleIDs()); ok {
			hint = "did you mean " + near + "?"
		}
		sc.problems = append(sc.problems, diag.Diagnostic{Code: diag.UnknownRule, Pos: rule.Pos, Width: rule.Width,
			Message: "afgen breaking has no rule " + allow.Rule, Hint: hint})
		return
	}
	if slices.ContainsFunc(*to, func(a ir.Allow) bool { return a.Rule == allow.Rule }) {
		sc.reportDirective(d, diag.Conflict, fmt.Sprintf("%s is allowed twice", allow.Rule), "keep one of them")
		return
	}
	*to = append(*to, ir.Allow{Rule: allow.Rule, Reason: allow.Reason})
}

// allowsOf returns the list of the type or method of a note. If there is none, where describes the declaration.
func (sc *scanner) allowsOf(u *unit, n note) (to *[]ir.Allow, where string) {
	if n.spec != nil {
		for _, t := range u.types {
			if t.spec == n.spec {
				return &t.allow, ""
			}
		}
		return nil, fmt.Sprintf("type %s, which has neither //af:rpc nor //af:worker", n.spec.Name.Name)
	}
	id := n.fn.Name
	if n.fn.Recv == nil {
		return nil, "func " + id.Name
	}
	base := u.Receiver(n.fn)
	for _, t := range u.types {
		if t.name() != base || t.isWorker() {
			continue
		}
		for _, m := range t.methods {
			if m.decl == n.fn && !m.skip {
				return &m.allow, ""
			}
		}
	}
	return nil, fmt.Sprintf("method %s, which is not remote", id.Name)
}
