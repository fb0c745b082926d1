package contract

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/ir"
)

// parse accepts the types that Of writes.
func TestParse(t *testing.T) {
	basic := func(name string) *ir.Type { return &ir.Type{Kind: ir.Basic, Name: name} }
	named := func(path, name string, args ...ir.Type) ir.Type {
		return ir.Type{Kind: ir.Named, Path: path, Name: name, Args: args}
	}
	item := named("example.com/shop", "Item")
	c := Contract{Package: "example.com/shop", Types: map[string]Type{"Item": {}, "string": {}}}
	for spelled, want := range map[string]ir.Type{
		"int":         *basic("int"),
		"any":         {Kind: ir.Any, Name: "any"},
		"interface{}": {Kind: ir.Any, Name: "interface{}"},
		"Item":        item,
		"string":      named("example.com/shop", "string"), // the package's own
		"time.Time":   named("time", "Time"),
		"*[]Item":     {Kind: ir.Pointer, Elem: &ir.Type{Kind: ir.Slice, Elem: &item}},
		"[16]byte":    {Kind: ir.Array, Len: 16, Elem: basic("byte")},
		"map[gopkg.in/yaml.v3.Key]map[int]any": {Kind: ir.Map, Key: new(named("gopkg.in/yaml.v3", "Key")),
			Elem: &ir.Type{Kind: ir.Map, Key: basic("int"), Elem: &ir.Type{Kind: ir.Any, Name: "any"}}},
		"Page[map[int]Item, a.b/x-y/v2.Page[Item]]": named("example.com/shop", "Page",
			ir.Type{Kind: ir.Map, Key: basic("int"), Elem: &item}, named("a.b/x-y/v2", "Page", item)),
		"struct{}": {Kind: ir.Struct},
		`struct{A int "json:\"a; }\""; b []Item; *a.b/x.Base; Item "x"; Page[int]; C struct{ }}`: {},
		`struct{A int "json:\"a; }\""; b []Item; *a.b/x.Base; Item "x"; Page[int]}`: {Kind: ir.Struct, Fields: []ir.Field{
			{Name: "A", Tag: `json:"a; }"`, Type: *basic("int")},
			{Name: "b", Type: ir.Type{Kind: ir.Slice, Elem: &item}},
			{Name: "Base", Embedded: true, Type: ir.Type{Kind: ir.Pointer, Elem: new(named("a.b/x", "Base"))}},
			{Name: "Item", Embedded: true, Tag: "x", Type: item},
			{Name: "Page", Embedded: true, Type: named("example.com/shop", "Page", *basic("int"))},
		}},
	} {
		got, err := c.parse(spelled)
		if want.Kind == "" {
			if err == nil {
				t.Errorf("%s is parsed as %+v", spelled, got)
			}
			continue
		}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", spelled, err, d)
		}
		again := (speller{pkg: &ir.Package{Path: c.Package}}).spelling(got)
		if again != spelled {
			t.Errorf("%s is written as %s", spelled, again)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "[", "[]", "map[", "map[int", "struct{", "struct{A", `struct{A int "`, "A[", "A[int",
		"A[int,", "A[int]]",
		"*", "a.", ".", "[9999999999999999999]int", strings.Repeat("*", 1000) + "int", "struct{A int; B}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spelled string) {
		c := Contract{Package: "p"}
		got, err := c.parse(spelled)
		if err != nil {
			return
		}
		again, err := c.parse((speller{pkg: &ir.Package{Path: "p"}}).spelling(got))
		if d := cmp.Diff(got, again); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", spelled, err, d)
		}
	})
}

func TestInvalidContracts(t *testing.T) {
	method := func(typ string) map[string]Service {
		return map[string]Service{"s": {Type: "S", Methods: map[string]Method{"M": {Params: map[string]string{"x": typ}}}}}
	}
	now := []*ir.Package{{Path: "p",
		Services: []ir.Service{{Type: "S", Name: "s", Methods: []ir.Method{{GoName: "M", Name: "M"}}}},
		Workers:  []ir.Worker{{Type: "W", Name: "w", Payload: ir.Type{Kind: ir.Basic, Name: "int"}}}}}
	for name, old := range map[string]Contract{
		"parameter": {Package: "p", Services: method("[")},
		"payload":   {Package: "p", Workers: map[string]Worker{"w": {Type: "W", Payload: Value{Type: "map[int"}}}},
		"result": {Package: "p",
			Workers: map[string]Worker{"w": {Type: "W", Payload: Value{Type: "int"}, Result: &Value{Type: ""}}}},
		"name":       {Package: "p", Types: map[string]Type{"A[": {}}},
		"underlying": {Package: "p", Types: map[string]Type{"A": {Underlying: "{"}}},
		"embedded":   {Package: "p", Types: map[string]Type{"A": {Embeds: []string{"*"}}}},
		"member":     {Package: "p", Types: map[string]Type{"A": {Members: map[string]Member{"a": {Type: "int,"}}}}},
	} {
		if report, err := Breaking([]Contract{old}, now); err == nil {
			t.Errorf("%s: %+v", name, report)
		}
	}
}
