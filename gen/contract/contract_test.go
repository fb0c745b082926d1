package contract_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/ir"
)

const path = "example.com/shop"

func basic(name string) ir.Type { return ir.Type{Kind: ir.Basic, Name: name} }

func own(name string, args ...ir.Type) ir.Type {
	return ir.Type{Kind: ir.Named, Path: path, Name: name, Args: args}
}

// shop returns a package that uses all members of a contract.
func shop() *ir.Package {
	instant := ir.Type{Kind: ir.Named, Path: "time", Name: "Time"}
	amount := ir.Type{Kind: ir.Named, Path: "example.com/money", Name: "Amount"}
	item, page := own("Item"), own("Page", own("Item"))
	return &ir.Package{
		Path: path,
		Name: "shop",
		Services: []ir.Service{{
			Type: "Store", Name: "store", Timeout: 5 * time.Second, Concurrency: 256,
			Methods: []ir.Method{
				{
					GoName: "Find", Name: "find", Timeout: 90 * time.Second, Idempotent: true, Variadic: true,
					Params: []ir.Param{
						{Name: "query", Member: "query", Type: basic("string")},
						{Name: "tags", Member: "tags", Type: ir.Type{Kind: ir.Slice, Elem: new(basic("string"))}},
					},
					Results: []ir.Param{{Member: "result", Type: page}},
				},
				{GoName: "Reset", Name: "Reset", Timeout: 5 * time.Second},
			},
		}},
		Workers: []ir.Worker{
			{
				Type: "Pack", Name: "pack", Max: 10, Timeout: time.Hour, Retries: 5, Backoff: time.Second, Weight: 1,
				Isolation: "process", Payload: item, Result: &amount,
			},
			{Type: "Sweep", Name: "sweep", Max: 1, Backoff: time.Second, Isolation: "goroutine", Payload: own("None")},
		},
		Defs: map[string]ir.Def{
			path + ".Page[" + path + ".Item]": {Members: []ir.Member{
				{Name: "items", Type: ir.Type{Kind: ir.Slice, Elem: &item}},
				{Name: "next", Optional: true, Type: ir.Type{Kind: ir.Pointer, Elem: &page}},
			}},
			path + ".Item": {Members: []ir.Member{
				{Type: own("Base")},
				{Name: "count", Quoted: true, Type: basic("int64")},
				{Name: "more", Quoted: true, Optional: true, Type: basic("int")},
				{Name: "price", Type: amount},
				{Name: "level", Type: own("Level")},
			}},
			path + ".Base":             {Members: []ir.Member{{Name: "at", Type: instant}}},
			path + ".Level":            {Underlying: new(basic("int"))},
			path + ".None":             {},
			"example.com/money.Amount": {Encoding: ir.EncodingText},
			"time.Time":                {Encoding: ir.EncodingJSON},
		},
	}
}

func TestMarshal(t *testing.T) {
	got, err := contract.Marshal(contract.Of(shop()))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	html := contract.Contract{Version: contract.Version, Package: path, Types: map[string]contract.Type{
		"T": {Members: map[string]contract.Member{"a<b>&c": {Type: `struct{A int "json:\"<a>\""}`}}},
	}}
	for name, want := range map[string]contract.Contract{"everything": contract.Of(shop()), "html": html} {
		t.Run(name, func(t *testing.T) {
			content, err := contract.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := contract.Unmarshal(content)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			again, err := contract.Marshal(got)
			if err != nil || string(again) != string(content) {
				t.Errorf("encoded again: %v\n%s", err, again)
			}
			if strings.Contains(string(content), `\u00`) {
				t.Errorf("HTML is escaped:\n%s", content)
			}
		})
	}
}

func TestUnmarshalErrors(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"not_json", `afgen: 1`, "contract: invalid character"},
		{"no_version", `{"package": "shop"}`, `no member "afgen"`},
		{"newer_version", `{"afgen": 2, "novelty": {}}`, "format version 2, this afgen reads 1"},
		{"version_not_number", `{"afgen": "1"}`, "contract: json: cannot unmarshal"},
		{"unknown_member", `{"afgen": 1, "novelty": {}}`, `unknown field "novelty"`},
		{"bad_duration", `{"afgen": 1, "services": {"s": {"timeout": "soon"}}}`, `duration "soon"`},
		{"two_contracts", `{"afgen": 1} {"afgen": 1}`, "contract: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := contract.Unmarshal([]byte(test.content))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestDurationText(t *testing.T) {
	tests := map[time.Duration]string{
		0:                               "0s",
		time.Nanosecond:                 "1ns",
		250 * time.Millisecond:          "250ms",
		5 * time.Second:                 "5s",
		time.Minute:                     "1m",
		10 * time.Minute:                "10m",
		90 * time.Second:                "1m30s",
		time.Hour:                       "1h",
		10 * time.Hour:                  "10h",
		time.Hour + time.Second:         "1h0m1s",
		time.Hour + 30*time.Minute:      "1h30m",
		24*time.Hour + 10*time.Minute:   "24h10m",
		2*time.Minute + time.Nanosecond: "2m0.000000001s",
	}
	for d, want := range tests {
		text, err := contract.Duration(d).MarshalText()
		if err != nil || string(text) != want {
			t.Errorf("%v: got %s, %v, want %s", d, text, err, want)
		}
		var back contract.Duration
		if err := back.UnmarshalText(text); err != nil || time.Duration(back) != d {
			t.Errorf("%s: parsed as %v, %v", text, time.Duration(back), err)
		}
	}
}

func ExampleMethodFingerprint() {
	p := &ir.Package{Path: path}
	add := ir.Method{
		Params: []ir.Param{
			{Name: "x", Member: "x", Type: basic("int")},
			{Name: "more", Member: "more", Type: ir.Type{Kind: ir.Slice, Elem: new(basic("int"))}},
		},
		Variadic: true,
		Results:  []ir.Param{{Name: "sum", Member: "sum", Type: basic("int")}},
	}
	// printf '{"more":[]int,"x":int}->{"sum":int}' | sha256sum | cut -c-12
	fmt.Println(contract.MethodFingerprint(p, add))
	// Output: 4ac6fde48223
}
