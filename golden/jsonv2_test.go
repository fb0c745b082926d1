package golden

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/internal/testkit"
)

// standardTypes uses types that differ with GOEXPERIMENT=jsonv2, where RawMessage is an alias.
const standardTypes = `
type Raw = json.RawMessage

type Bytes json.RawMessage

type Page[T any] struct {
	Items []T
	Next  *Page[T]
}

type Document struct {
	Raw     json.RawMessage
	Alias   Raw
	Pointer *json.RawMessage
	Bytes   Bytes
	Map     map[string]json.RawMessage
	Number  json.Number
	Quoted  json.Number ` + "`json:\",string\"`" + `
	Keys    map[json.Number]json.Number
	At      time.Time
	For     time.Duration
	Amount  *big.Int
	From    netip.Addr
	Comment sql.NullString
	Count   sql.Null[json.RawMessage]
	Sub     struct{ Raw Raw }
}

type Wrapped struct{ json.RawMessage }

func (s *S) Document(
	ctx context.Context, d Document, p Page[json.RawMessage], q Page[Raw], w Wrapped, raw ...json.RawMessage,
) (json.RawMessage, error) {
	return nil, nil
}
`

func TestSameContractWithJSONv2(t *testing.T) {
	testkit.Long(t, "reads the standard library twice more")
	env := func(experiment string) []string {
		return append(os.Environ(), "GOEXPERIMENT="+experiment, "GOWORK=off", "GOFLAGS=-mod=mod")
	}
	experiments := []string{"nojsonv2", "jsonv2"}
	supported := exec.Command("go", "list", "errors")
	supported.Env = env("jsonv2")
	if out, err := supported.CombinedOutput(); err != nil {
		t.Logf("this version of Go has no such experiment: %s", out)
		return
	}
	all := drawWireTypes(0, 300)
	var accepted []drawn
	for _, experiment := range experiments {
		got := acceptedTypes(t, module(t), all, env(experiment), map[diag.Code]int{})
		if accepted == nil {
			accepted = got
		}
		if d := cmp.Diff(accepted, got, cmp.AllowUnexported(drawn{})); d != "" {
			t.Errorf("GOEXPERIMENT=%s: accepted types differ:\n%s", experiment, d)
		}
	}
	var b strings.Builder
	b.WriteString("package main\n\n" + wireImports + "\n//af:rpc\ntype S struct{}\n" + standardTypes)
	for _, typ := range accepted {
		fmt.Fprintf(&b, "%sfunc (s *S) E%d(ctx context.Context, p %s) error { return nil }\n\n", typ.decls, typ.index,
			typ.expr)
	}
	dir := module(t)
	testkit.Write(t, filepath.Join(dir, "types.go"), b.String())
	var want string
	for _, experiment := range experiments {
		plan, err := gen.Generate(t.Context(), dir, []string{"."}, gen.Options{Env: env(experiment)})
		if err != nil || len(plan.Diagnostics) > 0 || len(plan.Changes) != 2 {
			t.Fatalf("%s: %v, %v", experiment, err, plan.Diagnostics)
		}
		got := string(plan.Changes[0].New) + string(plan.Changes[1].New)
		if want == "" {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("GOEXPERIMENT=%s: output differs:\n%s", experiment, d)
		}
	}
}
