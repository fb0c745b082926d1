package scan

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/scan/internal/load"
)

// A refusal describes why a type can't be sent. text contains the path to the value.
type refusal struct {
	rule *rule
	at   token.Pos
	text string
	hint string
}

// refuse returns a refusal at the current field or parameter.
func (r *reader) refuse(rule *rule, path string, args ...any) *refusal {
	hint := rule.hint
	if strings.Contains(hint, "%") {
		hint = fmt.Sprintf(hint, append([]any{path}, args...)...)
	}
	return &refusal{rule, r.at, fmt.Sprintf(rule.message, append([]any{path}, args...)...), hint}
}

// diagnostic returns the diagnostic of a refusal or warning about a parameter or result of d.
func (sc *scanner) diagnostic(d *ast.FuncDecl, no refusal) diag.Diagnostic {
	at := sc.Position(no.at)
	text := no.text
	if no.rule.code != diag.UnnamedParameter {
		text = d.Name.Name + ": " + text
	}
	return diag.Diagnostic{Code: no.rule.code, Pos: load.Pos(at),
		Width: max(sc.WordAt(at), 1), Message: text, Hint: no.hint,
		Warning: no.rule.warns()}
}

// reported reports whether there already is a diagnostic at a field, which several methods may send.
func (sc *scanner) reported(at diag.Pos) bool {
	return slices.ContainsFunc(sc.problems, func(d diag.Diagnostic) bool { return d.Pos == at })
}

// isStandard reports whether a type is declared by the standard library.
func (sc *scanner) isStandard(t types.Type) bool {
	var obj *types.TypeName
	switch t := t.(type) {
	case *types.Named:
		obj = t.Obj()
	case *types.Alias:
		obj = t.Obj()
	}
	if obj == nil || obj.Pkg() == nil {
		return false
	}
	u := sc.Unit(obj.Pkg().Path())
	return u != nil && u.Pkg.Module == nil
}

// isUsers reports whether a package belongs to the main module or the workspace, so that the user can change it.
func (sc *scanner) isUsers(path string) bool {
	u := sc.Unit(path)
	return u != nil && u.Main
}
