package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/internal/testkit"
)

// standardTypes mentions types that encoding/json declares differently with GOEXPERIMENT=jsonv2: RawMessage is an alias
// then.
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

func (s *S) Document(ctx context.Context, d Document, p Page[json.RawMessage], q Page[Raw], w Wrapped, raw ...json.RawMessage) (json.RawMessage, error) {
	return nil, nil
}
`

func TestContractsDoNotDependOnJSONv2(t *testing.T) {
	var b strings.Builder
	b.WriteString("package main\n\n" + wireImports + "\n//af:rpc\ntype S struct{}\n" + standardTypes)
	accepted := acceptedTypes(t, module(t), drawWireTypes(0, 60), nil)
	for _, typ := range accepted {
		fmt.Fprintf(&b, "%sfunc (s *S) E%d(ctx context.Context, p %s) error { return nil }\n\n", typ.decls, typ.index, typ.expr)
	}
	dir := module(t)
	testkit.Write(t, filepath.Join(dir, "types.go"), b.String())
	var want string
	for _, experiment := range []string{"nojsonv2", "jsonv2"} {
		plan, err := gen.Generate(t.Context(), dir, []string{"."}, gen.Options{
			Env: append(os.Environ(), "GOEXPERIMENT="+experiment, "GOWORK=off", "GOFLAGS=-mod=mod"),
		})
		if err != nil && strings.Contains(err.Error(), "unknown GOEXPERIMENT") {
			t.Logf("this version of Go has no such experiment: %v", err)
			return
		}
		if err != nil || len(plan.Diagnostics) > 0 || len(plan.Changes) != 2 {
			t.Fatalf("%s: %v, %v", experiment, err, plan.Diagnostics)
		}
		got := string(plan.Changes[0].New) + string(plan.Changes[1].New)
		if want == "" {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("with GOEXPERIMENT=%s the output is another:\n%s", experiment, d)
		}
	}
}
