package scan_test

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/internal/testkit"
)

// prelude declares the types that random types use.
const prelude = `package types

import (
	"context"
	"io"
	"net/netip"
	"time"
	"unsafe"
)

var _ io.Reader
var _ netip.Addr
var _ time.Time
var _ unsafe.Pointer

type (
	Color               int
	Item                struct{ Name string; at time.Time ` + "`json:\"-\"`" + ` }
	Tree                struct{ Left, Right *Tree; Items map[string]Item }
	Quiet               struct{ C chan int ` + "`json:\"-\"`" + `; f func() ` + "`json:\"-\"`" + ` }
	Loud                struct{ Item; In []struct{ C chan int } }
	Page[T any]         struct{ Items []T; Next *Page[T] }
	ID[T any]           string
	List[T any]         = []T
	Name                = string
	Coded               struct{ F func() }
	Endless[T any]      struct{ Next *Endless[[]T] }
	Service             struct{}
)

func (c Coded) MarshalJSON() ([]byte, error) { return nil, nil }

func (c *Coded) UnmarshalJSON([]byte) error { return nil }

`

// A verdict is the expected result for a type.
type verdict int

const (
	accepted verdict = iota
	either           // never sent, but the representation may not be able to express it
	refused
	undefined // does not exist
)

// An expression is a type as Go source, formatted as by package ir.
type expression struct {
	source  string
	verdict verdict
}

func drawType(t *rapid.T, depth int) expression {
	leaves := []expression{
		{"bool", accepted}, {"int", accepted}, {"string", accepted}, {"byte", accepted}, {"float64", accepted},
		{"any", accepted},
		{"interface{}", accepted}, {"Color", accepted}, {"Item", accepted}, {"Tree", accepted}, {"Quiet", accepted},
		{"Name", accepted},
		{"Coded", accepted}, {"time.Time", accepted}, {"netip.Addr", accepted}, {"struct{}", accepted},
		{"Loud", refused}, {"error", refused}, {"io.Reader", refused}, {"complex64", refused}, {"unsafe.Pointer", refused},
		{"func()", refused},
		{"context.Context", refused}, {"interface{ M() }", refused}, {"Endless[int]", refused}, {"Missing", undefined},
		{"time.Missing", undefined},
	}
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(leaves).Draw(t, "type")
	}
	elem := drawType(t, depth-1)
	hidden := elem
	hidden.verdict = map[verdict]verdict{accepted: accepted, either: either, refused: either,
		undefined: undefined}[elem.verdict]
	in := func(format string) expression { return expression{fmt.Sprintf(format, elem.source), elem.verdict} }
	switch rapid.IntRange(0, 10).Draw(t, "kind") {
	case 0:
		return in("*%s")
	case 1:
		return in("[]%s")
	case 2:
		return in("[3]%s")
	case 3:
		return in("Page[%s]")
	case 4:
		return in("List[%s]")
	case 5:
		return expression{"ID[" + hidden.source + "]", hidden.verdict}
	case 6:
		keys := []expression{{"string", accepted}, {"int8", accepted}, {"Color", accepted}, {"netip.Addr", accepted},
			{"Name", accepted}, {"ID[int]", accepted},
			{"bool", refused}, {"float64", refused}, {"[2]int", refused}, {"Item", refused}, {"*int", refused}, {"any", refused},
			{"[]int", refused}}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		return expression{"map[" + key.source + "]" + elem.source, max(key.verdict, elem.verdict)}
	case 7:
		return in("struct{X int; Y %s}")
	case 8:
		return expression{"struct{X int; y " + hidden.source + ` "json:\"-\""}`, hidden.verdict}
	case 9:
		return expression{"struct{X int; y " + hidden.source + "}",
			max(either, hidden.verdict)} // refused unless all its values are equal
	default:
		return expression{"chan " + elem.source, max(refused, elem.verdict)}
	}
}

// Each method is on its own line, so that the line of a diagnostic identifies it.
func TestRandomTypes(t *testing.T) {
	t.Parallel()
	testkit.Checks(t, testkit.Fewer(100, 15))
	dir := module(t, "")
	rapid.Check(t, func(rt *rapid.T) {
		types := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) expression { return drawType(t, 4) }), 1, 30).Draw(rt, "types")
		source := prelude + "//af:rpc\ntype S struct{}\n\n"
		line := strings.Count(source, "\n") + 1
		for i, typ := range types {
			if i%2 == 0 {
				source += fmt.Sprintf("func (*S) M%d(ctx context.Context, p %s) error { return nil }\n", i, typ.source)
			} else {
				source += fmt.Sprintf("func (*S) M%d(ctx context.Context) (p %s, err error) { return }\n", i, typ.source)
			}
		}
		write(t, dir, "types.go", source)
		res := run(t, config(dir, "."))
		problems := map[int][]diag.Code{}
		inside := false // a field of the prelude is refused, which is reported for one method only
		for _, d := range res.Diagnostics {
			at := d.Pos.Line - line
			if at < 0 {
				inside = true
				fmt.Sscanf(d.Message, "M%d: ", &at)
			}
			problems[at] = append(problems[at], d.Code)
		}
		pkg := res.Packages[0].IR
		for i, typ := range types {
			spelled := spelling(pkg, fmt.Sprintf("M%d", i))
			codes := problems[i]
			if len(codes) == 0 && spelled == "" && inside {
				codes = []diag.Code{diag.CannotTravel}
			}
			switch {
			case (len(codes) == 0) == (spelled == ""):
				rt.Errorf("%s: diagnostics %v, spelled %q", typ.source, codes, spelled)
			case typ.verdict == accepted && len(codes) > 0, typ.verdict >= refused && len(codes) == 0:
				rt.Errorf("%s: diagnostics %v, verdict %d", typ.source, codes, typ.verdict)
			case spelled != "" && spelled != typ.source:
				rt.Errorf("%s is spelled %s", typ.source, spelled)
			}
		}
		stable(rt, pkg)
	})
}

// spelling returns the type of a method's parameter or result as Go source, or "" if there is no such method.
func spelling(p *ir.Package, method string) string {
	i := slices.IndexFunc(p.Services[0].Methods, func(m ir.Method) bool { return m.GoName == method })
	if i < 0 {
		return ""
	}
	m := p.Services[0].Methods[i]
	return slices.Concat(m.Params, m.Results)[0].Type.Spell(func(importPath, name string) string {
		if importPath == p.Path {
			return name
		}
		return path.Base(importPath) + "." + name
	})
}

// stable checks that a package is unchanged after a round trip through JSON.
func stable(t interface{ Errorf(string, ...any) }, p *ir.Package) {
	data, err := json.Marshal(p)
	back := new(ir.Package)
	if err == nil {
		err = json.Unmarshal(data, back)
	}
	if err != nil || !reflect.DeepEqual(p, back) {
		t.Errorf("not stable: %s, %v", data, err)
	}
}

// For any text as a type, the scan accepts it or reports a problem, and doesn't panic.
func FuzzSignature(f *testing.F) {
	for _, seed := range []string{
		"int", "[]map[string]*Tree", "...Item", "Page[Page[ID[func()]]]", "[len(\"x\")]int", "[1 << 40]int", "[-1]int",
		"[x]int", "[...]int",
		"struct{ Item; *Tree }", "struct{ Page[int] }", "interface{ ~int }", "chan<- func(<-chan int)", "Page", "Page[]",
		"Page[int, int]",
		"int) error { return nil }\n\nfunc (s *Service) Do2(context.Context", "int, q", "p.q.r", "unsafe.Pointer",
		"map[[]int]int",
		"Endless[Endless[int]]", "struct{ S }", "*S", "SAPI", "NewSClient", "func(", "\"", "`", "/*", "//", "\x00", "\xff",
		"int `json:\"x\"`",
		"int /*\naf:rpc */", "int,\n//af:skip\nq int", "[unsafe.Sizeof(0)]int", "[Do]int", "S.T", "context.Missing",
		"af.Task", "(((int)))",
		"struct{ X int; X int }", "struct{ _ int; _ chan int }", "struct{ Int int `json:\"a,string,omitempty\"` }",
	} {
		f.Add(seed)
	}
	dir := module(f, "")
	f.Fuzz(func(t *testing.T, source string) {
		write(t, dir, "types.go",
			prelude+"//af:rpc\ntype S struct{}\n\nfunc (*S) Do(ctx context.Context, p "+source+") error { return nil }\n")
		res := run(t, config(dir, "."))
		if len(res.Diagnostics) > 0 {
			return
		}
		if len(res.Packages) != 1 || len(res.Packages[0].IR.Services) != 1 {
			t.Fatal("no diagnostics and no service")
		}
		stable(t, res.Packages[0].IR)
	})
}
