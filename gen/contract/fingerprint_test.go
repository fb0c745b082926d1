package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/ir"
)

var (
	integer = ir.Type{Kind: ir.Basic, Name: "int"}
	text    = ir.Type{Kind: ir.Basic, Name: "string"}
)

func named(name string) ir.Type { return ir.Type{Kind: ir.Named, Path: "shop", Name: name} }

func pointer(t ir.Type) ir.Type { return ir.Type{Kind: ir.Pointer, Elem: &t} }

func slice(t ir.Type) ir.Type { return ir.Type{Kind: ir.Slice, Elem: &t} }

func mapOf(k, v ir.Type) ir.Type { return ir.Type{Kind: ir.Map, Key: &k, Elem: &v} }

func structOf(members ...ir.Member) ir.Def { return ir.Def{Members: members} }

func member(name string, t ir.Type) ir.Member { return ir.Member{Name: name, Type: t} }

func alias(t ir.Type) ir.Def { return ir.Def{Underlying: &t} }

func param(name string, t ir.Type) ir.Param { return ir.Param{Name: name, Member: name, Type: t} }

// shop returns a package with definitions by unqualified names.
func shop(defs map[string]ir.Def) *ir.Package {
	p := &ir.Package{Path: "shop", Name: "shop", Defs: map[string]ir.Def{}}
	for name, def := range defs {
		if !strings.Contains(name, ".") {
			name = "shop." + name
		}
		p.Defs[name] = def
	}
	return p
}

func TestTypeText(t *testing.T) {
	item := structOf(member("name", text), member("count", integer))
	tests := []struct {
		name string
		defs map[string]ir.Def
		typ  ir.Type
		want string
	}{
		{"basic", nil, integer, `int`},
		{"byte", nil, slice(ir.Type{Kind: ir.Basic, Name: "byte"}), `[]uint8`},
		{"rune", nil, ir.Type{Kind: ir.Basic, Name: "rune"}, `int32`},
		{"any", nil, ir.Type{Kind: ir.Any, Name: "interface{}"}, `any`},
		{"array_of_pointers", nil, ir.Type{Kind: ir.Array, Len: 3, Elem: new(pointer(text))}, `[3]*string`},
		{"map", nil, mapOf(text, slice(integer)), `map[string][]int`},
		{"members_sorted_by_name", map[string]ir.Def{"Item": item}, named("Item"), `{"count":int,"name":string}`},
		{"empty_struct", map[string]ir.Def{"None": {}}, named("None"), `{}`},
		{
			"optional and quoted",
			map[string]ir.Def{"T": structOf(
				ir.Member{Name: "a", Type: integer, Optional: true},
				ir.Member{Name: "b", Type: integer, Quoted: true},
				ir.Member{Name: "c", Type: integer, Optional: true, Quoted: true},
			)},
			named("T"), `{"a"?:int,"b":"int","c"?:"int"}`,
		},
		{
			"embedded_structs", // first, in source order
			map[string]ir.Def{
				"T": structOf(member("a", integer), member("", named("Y")), member("", pointer(named("X")))),
				"X": structOf(member("x", integer)),
				"Y": structOf(member("y", integer)),
			},
			named("T"), `{...{"y":int},...*{"x":int},"a":int}`,
		},
		{
			"self_marshalling",
			map[string]ir.Def{
				"T":         structOf(member("at", ir.Type{Kind: ir.Named, Path: "time", Name: "Time"}), member("id", named("ID"))),
				"time.Time": {Encoding: ir.EncodingJSON},
				"ID":        {Encoding: ir.EncodingText},
			},
			named("T"), `{"at":json(time.Time),"id":text(shop.ID)}`,
		},
		{"named_basic", map[string]ir.Def{"Level": alias(integer)}, named("Level"), `int`},
		{"alias_of_a_struct", map[string]ir.Def{"A": alias(named("Item")), "Item": item}, named("A"),
			`{"count":int,"name":string}`},
		{"struct_that_was_written_before", map[string]ir.Def{
			"T":    structOf(member("a", named("Item")), member("b", slice(named("Item")))),
			"Item": item,
		}, named("T"), `{"a":{"count":int,"name":string},"b":[]^1}`},
		{"slice_that_was_written_before", map[string]ir.Def{
			"T": structOf(member("a", slice(text)), member("b", slice(text))),
		}, named("T"), `{"a":[]string,"b":[]string}`},
		{"recursive_struct", map[string]ir.Def{
			"Node": structOf(ir.Member{Name: "next", Type: pointer(named("Node")), Optional: true}, member("Tags", slice(text))),
		}, named("Node"), `{"Tags":[]string,"next"?:*^0}`},
		{"recursive_map", map[string]ir.Def{"Tree": alias(mapOf(text, named("Tree")))}, named("Tree"), `map[string]^0`},
		{"recursive_pointer", map[string]ir.Def{"P": alias(pointer(named("P")))}, named("P"), `*^0`},
		{"mutually_recursive", map[string]ir.Def{
			"A": structOf(member("b", pointer(named("B")))),
			"B": structOf(member("a", slice(named("A"))), member("n", integer)),
		}, named("A"), `{"b":*{"a":[]^0,"n":int}}`},
		{"recursive_through_an_alias", map[string]ir.Def{
			"Node":  structOf(member("next", pointer(named("Alias")))),
			"Alias": alias(named("Node")),
		}, named("Node"), `{"next":*^0}`},
		{"generic", map[string]ir.Def{
			"shop.Page[shop.Item]": structOf(member("items", slice(named("Item")))),
			"Item":                 item,
		}, ir.Type{Kind: ir.Named, Path: "shop", Name: "Page", Args: []ir.Type{named("Item")}},
			`{"items":[]{"count":int,"name":string}}`},
		{"anonymous_struct", map[string]ir.Def{"Level": alias(integer), "Base": structOf(member("b", text))}, ir.Type{
			Kind: ir.Struct, Fields: []ir.Field{
				{Name: "Plain", Type: integer},
				{Name: "hidden", Type: integer},
				{Name: "Not", Tag: `json:"-"`, Type: integer},
				{Name: "Dash", Tag: `json:"-,"`, Type: integer},
				{Name: "Tagged", Tag: `json:"tagged,omitempty"`, Type: text},
				{Name: "Zero", Tag: `json:",omitzero,string"`, Type: pointer(named("Level"))},
				{Name: "NotQuoted", Tag: `json:",string"`, Type: slice(text)},
				{Name: "BadName", Tag: `json:"a\"b"`, Type: text},
				{Name: "Base", Embedded: true, Type: named("Base")},
				{Name: "Level", Embedded: true, Type: named("Level")},
				{Name: "Kept", Embedded: true, Tag: `json:"kept"`, Type: named("Base")},
			},
		}, `{...{"b":string},"-":int,"BadName":string,"Level":int,"NotQuoted":[]string,"Plain":int,"Zero"?:"*int",` +
			`"kept":^1,"tagged"?:string}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := typeText(shop(test.defs), test.typ); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestMethodText(t *testing.T) {
	item := structOf(member("n", integer))
	tests := []struct {
		name   string
		method ir.Method
		want   string
	}{
		{"nothing", ir.Method{}, `{}->{}`},
		{"variadic", ir.Method{
			Params:   []ir.Param{param("x", integer), param("more", slice(integer))},
			Variadic: true,
			Results:  []ir.Param{param("sum", integer)},
		}, `{"more":[]int,"x":int}->{"sum":int}`},
		{"one_numbering", ir.Method{
			Params:  []ir.Param{param("item", named("Item"))},
			Results: []ir.Param{param("item", pointer(named("Item")))},
		}, `{"item":{"n":int}}->{"item":*^0}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := methodText(shop(map[string]ir.Def{"Item": item}), test.method); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// order and orderMethod define the original method of the tests below:
// func (…) M(ctx, order Order, n int) (receipt string, err error).
func order() map[string]ir.Def {
	return map[string]ir.Def{
		"Order": structOf(member("id", text), member("items", slice(named("Item"))), member("first", named("Item"))),
		"Item":  structOf(member("name", text), member("parent", pointer(named("Order")))),
	}
}

func orderMethod(payload string) ir.Method {
	return ir.Method{
		Params:  []ir.Param{param("order", named(payload)), param("n", integer)},
		Results: []ir.Param{param("receipt", text)},
	}
}

func TestSameFingerprint(t *testing.T) {
	want := MethodFingerprint(shop(order()), orderMethod("Order"))
	tests := []struct {
		name    string
		payload string
		change  func(defs map[string]ir.Def, m *ir.Method)
	}{
		{"renamed_type", "Purchase", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Purchase"] = defs["Order"]
			defs["Item"] = structOf(member("name", text), member("parent", pointer(named("Purchase"))))
			delete(defs, "Order")
		}},
		{"alias", "Alias", func(defs map[string]ir.Def, _ *ir.Method) { defs["Alias"] = alias(named("Order")) }},
		{"type_split_in_two", "Order", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Article"] = defs["Item"]
			defs["Order"] = structOf(member("id", text), member("items", slice(named("Item"))),
				member("first", named("Article")))
		}},
		{"recursion_in_two_rounds", "Order", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Parent"] = defs["Order"]
			defs["Item"] = structOf(member("name", text), member("parent", pointer(named("Parent"))))
		}},
		{"named_slice", "Order", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Items"] = alias(slice(named("Item")))
			defs["Order"] = structOf(member("id", text), member("items", named("Items")), member("first", named("Item")))
		}},
		{"reordered_fields", "Order", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Order"] = structOf(member("first", named("Item")), member("items", slice(named("Item"))), member("id", text))
		}},
		{"reordered_parameters", "Order", func(_ map[string]ir.Def, m *ir.Method) {
			m.Params[0], m.Params[1] = m.Params[1], m.Params[0]
		}},
		{"all_that_is_not_sent", "Order", func(_ map[string]ir.Def, m *ir.Method) {
			m.GoName, m.Name, m.Doc, m.Idempotent, m.Ctx, m.Named = "M", "m", "M does.", true, "ctx", true
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defs, m := order(), orderMethod(test.payload)
			test.change(defs, &m)
			p := shop(defs)
			if got := MethodFingerprint(p, m); got != want {
				t.Errorf("changed, text %s", methodText(p, m))
			}
		})
	}
}

func TestDifferentFingerprint(t *testing.T) {
	unchanged := MethodFingerprint(shop(order()), orderMethod("Order"))
	tests := []struct {
		name   string
		change func(defs map[string]ir.Def, m *ir.Method)
	}{
		{"renamed_parameter", func(_ map[string]ir.Def, m *ir.Method) { m.Params[1].Member = "count" }},
		{"retyped_parameter", func(_ map[string]ir.Def, m *ir.Method) { m.Params[1].Type.Name = "int64" }},
		{"added_parameter", func(_ map[string]ir.Def, m *ir.Method) { m.Params = append(m.Params, param("more", text)) }},
		{"removed_parameter", func(_ map[string]ir.Def, m *ir.Method) { m.Params = m.Params[:1] }},
		{"pointer", func(_ map[string]ir.Def, m *ir.Method) { m.Params[1].Type = pointer(integer) }},
		{"renamed_result", func(_ map[string]ir.Def, m *ir.Method) { m.Results[0].Member = "result" }},
		{"renamed_member", func(defs map[string]ir.Def, _ *ir.Method) { defs["Item"].Members[0].Name = "title" }},
		{"optional_member", func(defs map[string]ir.Def, _ *ir.Method) { defs["Item"].Members[0].Optional = true }},
		{"quoted_member", func(defs map[string]ir.Def, _ *ir.Method) { defs["Item"].Members[0].Quoted = true }},
		{"added_member", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Item"] = structOf(append(defs["Item"].Members, member("more", text))...)
		}},
		{"member_moved_into_embedded", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Base"] = structOf(defs["Order"].Members[0])
			defs["Order"] = structOf(append(defs["Order"].Members[1:], member("", named("Base")))...)
		}},
		{"type_marshals_itself", func(defs map[string]ir.Def, _ *ir.Method) {
			defs["Item"] = ir.Def{Encoding: ir.EncodingJSON}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defs, m := order(), orderMethod("Order")
			test.change(defs, &m)
			p := shop(defs)
			if got := MethodFingerprint(p, m); got == unchanged {
				t.Errorf("not changed, text %s", methodText(p, m))
			}
		})
	}
}

// Fingerprints are stored with tasks, so they must never change.
func TestFingerprintsAreStable(t *testing.T) {
	add := ir.Method{
		Params:  []ir.Param{param("x", integer), param("more", slice(integer))},
		Results: []ir.Param{param("sum", integer)},
	}
	p := shop(order())
	p.Defs["time.Time"] = ir.Def{Encoding: ir.EncodingJSON}
	tests := []struct{ name, got, want string }{
		{"nothing", MethodFingerprint(p, ir.Method{}), "cd5532d1ed56"},
		{"Add", MethodFingerprint(p, add), "4ac6fde48223"},
		{"int", TypeFingerprint(p, integer), "6da88c34ba12"},
		{"time", TypeFingerprint(p, ir.Type{Kind: ir.Named, Path: "time", Name: "Time"}), "05477362b810"},
		{"order", TypeFingerprint(p, named("Order")), "0cedb1a2ed1c"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, test.got, test.want)
		}
	}
}

// Without references, the text would have 2^64 parts for the first case, and all paths between members for the second.
func TestTextIsShort(t *testing.T) {
	const n = 64
	layered, dense := map[string]ir.Def{}, map[string]ir.Def{}
	for i := range n {
		next := named(fmt.Sprintf("T%d", i+1))
		layered[fmt.Sprintf("T%d", i)] = structOf(member("a", next), member("b", next))
		var members []ir.Member
		for j := range n {
			members = append(members, member(fmt.Sprintf("m%d", (i+j)%n), pointer(named(fmt.Sprintf("T%d", j)))))
		}
		dense[fmt.Sprintf("T%d", i)] = structOf(members...)
	}
	layered[fmt.Sprintf("T%d", n)] = alias(integer)
	for name, defs := range map[string]map[string]ir.Def{"layered": layered, "dense": dense} {
		t.Run(name, func(t *testing.T) {
			if got := len(typeText(shop(defs), named("T0"))); got > 20*n*n {
				t.Errorf("%d bytes", got)
			}
		})
	}
}

// Another version of Go may have other fields in structs of the standard library. The members of generic ones depend on
// the user's types.
func TestStandardStructs(t *testing.T) {
	address := ir.Type{Kind: ir.Named, Path: "net/mail", Name: "Address"}
	older := shop(map[string]ir.Def{"net/mail.Address": {Standard: true, Members: []ir.Member{member("Name", text)}}})
	newer := shop(map[string]ir.Def{"net/mail.Address": {Standard: true,
		Members: []ir.Member{member("Name", text), member("New", text)}}})
	if got := typeText(older, pointer(address)); got != "*std(net/mail.Address)" {
		t.Errorf("got %s", got)
	}
	if TypeFingerprint(older, address) != TypeFingerprint(newer, address) {
		t.Error("the fingerprint depends on the version of Go")
	}
	null := ir.Type{Kind: ir.Named, Path: "database/sql", Name: "Null", Args: []ir.Type{integer}}
	generic := shop(map[string]ir.Def{null.ID(): {Standard: true, Members: []ir.Member{member("V", integer)}}})
	if got := typeText(generic, null); got != `{"V":int}` {
		t.Errorf("got %s", got)
	}
}

// Contracts of older versions describe json.Number as a string. Those written with GOEXPERIMENT=jsonv2 describe
// json.RawMessage by the type that it is an alias of. Neither is a change.
func TestOlderContractsOfJSONTypes(t *testing.T) {
	number, raw := ir.Type{Kind: ir.Named, Path: "encoding/json", Name: "Number"}, ir.Type{Kind: ir.Named,
		Path: "encoding/json", Name: "RawMessage"}
	now := shop(map[string]ir.Def{number.ID(): {Encoding: ir.EncodingJSON}, raw.ID(): {Encoding: ir.EncodingJSON}})
	now.Services = []ir.Service{{Type: "Shop", Name: "shop",
		Methods: []ir.Method{{GoName: "Put", Name: "Put", Params: []ir.Param{
			param("n", number), param("r", raw),
		}}}}}
	old := Of(now)
	old.Types = map[string]Type{
		"encoding/json.Number":         {Underlying: "string"},
		"encoding/json.RawMessage":     {Underlying: "encoding/json/jsontext.Value"},
		"encoding/json/jsontext.Value": {Encoding: ir.EncodingJSON},
	}
	report, err := Breaking([]Contract{old}, []*ir.Package{now})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("%v, %v", report.Findings, err)
	}
}
