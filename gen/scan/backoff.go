package scan

import (
	"go/types"

	"github.com/afgen/afgen/gen/diag"
)

// ownBackoff reports whether a worker has the method Backoff, and whether that is valid.
func (sc *scanner) ownBackoff(u *unit, t *annotated) (has, valid bool) {
	m := t.methodNamed("Backoff")
	if m == nil {
		return false, true
	}
	f, _ := u.Defs[m.Name].(*types.Func)
	switch {
	case f == nil:
		return true, false // declared twice
	case isBackoff(f.Signature()):
		return true, true
	case sc.typeErrorReported() && (anyOf(f.Signature().Params(), isInvalid) || anyOf(f.Signature().Results(), isInvalid)):
	default:
		sc.ReportAt(m.Name, diag.BadBackoff, "Backoff of "+t.name()+" has the wrong signature",
			"declare it as func(attempt int, err error) time.Duration, or rename it")
	}
	return true, false
}

func isBackoff(sig *types.Signature) bool {
	p, r := sig.Params(), sig.Results()
	if p.Len() != 2 || sig.Variadic() || r.Len() != 1 {
		return false
	}
	n, ok := types.Unalias(r.At(0).Type()).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "time" && n.Obj().Name() == "Duration" &&
		types.Identical(p.At(0).Type(), types.Typ[types.Int]) && isError(p.At(1).Type())
}
