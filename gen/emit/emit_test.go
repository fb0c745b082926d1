package emit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

func TestTypesAsInSource(t *testing.T) {
	record := ir.Type{Kind: ir.Struct, Fields: []ir.Field{
		{Name: "A", Tag: `json:"a,omitempty"`, Type: basic("int")},
		{Name: "Base", Embedded: true, Type: own("Base")},
		{Name: "b", Type: pointer(own("Base"))},
	}}
	method := ir.Method{GoName: "M", Ctx: "ctx", Params: []ir.Param{
		param("page", own("Page", other("a.b/x", "Item"))),
		param("pair", other("a.b/x", "Pair", basic("string"), slice(own("Alias")))),
		param("byName", mapOf(basic("string"), ir.Type{Kind: ir.Any, Name: "interface{}"})),
		param("raw", ir.Type{Kind: ir.Array, Len: 16, Elem: new(basic("byte"))}),
		param("what", ir.Type{Kind: ir.Any, Name: "any"}),
		param("record", record),
	}}
	wants(t, importing(service(method), map[string]string{"a.b/x": "x"}),
		"Page   Page[x.Item]            `json:\"page\"`",
		"Pair   x.Pair[string, []Alias] `json:\"pair\"`",
		"ByName map[string]interface{}  `json:\"byName\"`",
		"Raw    [16]byte                `json:\"raw\"`",
		"What   any                     `json:\"what\"`",
		"Record struct {",
		"A int \"json:\\\"a,omitempty\\\"\"",
	)
}

func TestPackageMain(t *testing.T) {
	p := shop()
	p.Name, p.Taken = "main", append(p.Taken, "main")
	if got := mustEmit(t, p); !strings.Contains(got, "\npackage main\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestServiceWithoutMethodsAndWorkerWithoutResult(t *testing.T) {
	p := service()
	p.Workers = worker(own("Job"), nil).Workers
	p.Workers[0].Retries, p.Workers[0].Backoff = 0, time.Second
	p.Taken = append(p.Taken, "W")
	wants(t, p,
		"type SAPI interface{}",
		"af.RegisterService(r, afS, impl)",
		"type WQueue struct{ af.VoidQueue[Job] }",
		"return &WQueue{af.NewVoidQueue[Job](t, afW)}",
		"af.RegisterVoidWorker(r, afW, w, opts...)",
		`Signature: "(Job)",`,
	)
	got := mustEmit(t, p)
	for _, absent := range []string{"Timeout:", "Retries:", "Isolation:", "Result:", "Idempotent:", "SubtasksDone"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s in\n%s", absent, got)
		}
	}
}

func TestDurations(t *testing.T) {
	tests := map[time.Duration]string{
		time.Nanosecond:         "time.Nanosecond",
		1001 * time.Microsecond: "1001 * time.Microsecond",
		250 * time.Millisecond:  "250 * time.Millisecond",
		1500 * time.Millisecond: "1500 * time.Millisecond",
		time.Second:             "time.Second",
		5 * time.Second:         "5 * time.Second",
		90 * time.Second:        "90 * time.Second",
		2 * time.Minute:         "2 * time.Minute",
		time.Hour:               "time.Hour",
		48 * time.Hour:          "48 * time.Hour",
		time.Hour + 1:           "3600000000001 * time.Nanosecond",
		0:                       "0",
	}
	for d, want := range tests {
		p := worker(basic("int"), nil)
		p.Workers[0].Backoff = d
		wants(t, p, fmt.Sprintf("Backoff:   %s,", want))
	}
}

func TestDocComments(t *testing.T) {
	p := service(
		ir.Method{GoName: "A", Doc: "A does.\n\nFor example:\n\n\tcode()\n\nOr:\n\n  - one\n  - two\n"},
		ir.Method{GoName: "B", Doc: "\n\n"},
		ir.Method{GoName: "C", Doc: "go:generate rm -rf\r\nline a.go:1\n*/ %d"},
	)
	p.Services[0].Doc = "S serves.\nDeprecated: no."
	got := mustEmit(t, p)
	for _, want := range []string{
		"implement it.\n//\n// S serves.\n// Deprecated: no.\ntype SAPI",
		"\n\t// A does.\n\t//\n\t// For example:\n\t//\n\t//\tcode()\n\t//\n\t// Or:\n\t//\n\t//   - one\n\t//   - two\n\tA(",
		"\n// A does.\n//\n// For example:\n//\n//\tcode()\n//\n// Or:\n//\n//   - one\n//   - two\nfunc (c *SClient) A(",
		"\n\tB(context.Context) error\n\t// go:generate rm -rf\n\t// line a.go:1\n\t// */ %d\n\tC(",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no\n%s\nin\n%s", want, got)
		}
	}
}

// wide returns a package with declarations that don't fit on a line.
func wide() *ir.Package {
	m := ir.Method{GoName: "ReserveForCustomer", Ctx: "ctx", Variadic: true, Named: true, Err: "err"}
	for _, name := range []string{"customer", "warehouse", "reservation", "confirmation", "quantity", "priority", "reason",
		"approvedBy"} {
		m.Params = append(m.Params, param(name, own("ID")))
	}
	m.Params = append(m.Params, param("dimensions", mapOf(basic("string"), own("Item"))),
		param("items", slice(own("Item"))))
	m.Results = []ir.Param{param("reserved", slice(own("Item"))), param("missing", slice(own("Item")))}
	p := service(m, ir.Method{GoName: "Sum", Params: []ir.Param{unnamed("arg0", own("ID")), unnamed("arg1", own("ID"))}})
	p.Services[0].Type, p.Services[0].Name, p.Taken = "InventoryService", "inventory_service", []string{"InventoryService"}
	return p
}

func TestLongLines(t *testing.T) { golden(t, "wide", wide()) }

func TestPackageIsDeterministic(t *testing.T) {
	for _, p := range []*ir.Package{shop(), wide()} {
		before := fmt.Sprintf("%#v", p.Services)
		first, err := emit.Package(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			again, err := emit.Package(p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, again); diff != "" {
				t.Fatal(diff)
			}
		}
		if after := fmt.Sprintf("%#v", p.Services); after != before {
			t.Errorf("changed to\n%s", after)
		}
	}
}

func TestInvalidPackages(t *testing.T) {
	bad := ir.Method{GoName: "M", Params: []ir.Param{{Name: "x", Member: "x", Type: ir.Type{Kind: ir.Pointer}}}}
	notGo := ir.Method{GoName: "M", Params: []ir.Param{{Name: "x", Member: "x", Type: basic("!")}}}
	tests := []struct {
		name string
		pkg  *ir.Package
		want string
	}{
		{"empty", &ir.Package{Path: shopPath, Name: "shop"}, "emit example.com/shop: neither a service nor a worker"},
		{"exported_name_declared", importing(service(), nil, "SClient"), "emit example.com/shop: the name SClient is taken"},
		{"exported_name_of_import", func() *ir.Package {
			p := service()
			p.ImportNames = []string{"NewSClient"}
			return p
		}(), "the name NewSClient is taken"},
		{"exported_name_twice", func() *ir.Package {
			p := service()
			news := p.Services[0]
			news.Type = "NewS"
			p.Services = append(p.Services, news)
			return p
		}(), "the name NewSClient is taken"},
		{"import_without_name", service(ir.Method{GoName: "M", Params: []ir.Param{param("x", other("a.b/x", "T"))}}),
			`no package name for import path "a.b/x"`},
		{"pointer_without_element", service(bad), "emit example.com/shop: "},
		{"not_Go", service(notGo), "emit example.com/shop: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files, err := emit.Package(test.pkg, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || files != nil {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestIsGenerated(t *testing.T) {
	files, err := emit.Package(shop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	goFile, contractFile := string(files[0].Content), string(files[1].Content)
	tests := []struct {
		name, file, content string
		want                bool
	}{
		{"Go_file", "/a/b/af_gen.go", goFile, true},
		{"Go_file_with_other_name", "af_calc_gen.go", goFile, true},
		{"contract", "a/af.contract.json", contractFile, true},
		{"other_contract_version", "af.contract.json", `{"afgen": 7}`, true},
		{"with_CRLF", "af_gen.go", strings.ReplaceAll(goFile, "\n", "\r\n"), true},
		{"after_a_build_constraint", "af_gen.go", "//go:build linux\n\n" + goFile, true},
		{"only_the_header", "af_gen.go", emit.Header, true},
		{"header_after_the_package_clause", "af_gen.go", "package a\n" + emit.Header + "\n", false},
		{"header_in_a_comment", "af_gen.go", "/*\n" + emit.Header + "\n*/\npackage a\n", false},
		{"indented_header", "af_gen.go", "\t" + emit.Header + "\npackage a\n", false},
		{"other_generator", "x.go", "// Code generated by afgenx. DO NOT EDIT.\npackage a\n", false},
		{"handwritten", "af_gen.go", "package a\n", false},
		{"not_Go", "af_gen.go", "\x00\xff{{", false},
		{"empty", "af_gen.go", "", false},
		{"other_JSON", "af.contract.json", `{"name": "afgen"}`, false},
		{"other_contract_name", "package.json", contractFile, false},
		{"Go_in_another_file", "notes.txt", goFile, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := emit.IsGenerated(test.file, []byte(test.content)); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
