package emit_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const shopPath = "example.com/shop"

func basic(name string) ir.Type { return ir.Type{Kind: ir.Basic, Name: name} }

func own(name string, args ...ir.Type) ir.Type { return other(shopPath, name, args...) }

func other(path, name string, args ...ir.Type) ir.Type {
	return ir.Type{Kind: ir.Named, Path: path, Name: name, Args: args}
}

func pointer(t ir.Type) ir.Type { return ir.Type{Kind: ir.Pointer, Elem: &t} }

func slice(t ir.Type) ir.Type { return ir.Type{Kind: ir.Slice, Elem: &t} }

func mapOf(k, v ir.Type) ir.Type { return ir.Type{Kind: ir.Map, Key: &k, Elem: &v} }

func param(name string, t ir.Type) ir.Param { return ir.Param{Name: name, Member: name, Type: t} }

// unnamed returns an unnamed or blank parameter or result.
func unnamed(member string, t ir.Type) ir.Param { return ir.Param{Member: member, Type: t} }

// shop returns a package with a service and a worker.
func shop() *ir.Package {
	add := ir.Method{
		GoName: "Add", Name: "Add", Doc: "Add adds.", Timeout: 5 * time.Second, Idempotent: true,
		Ctx: "ctx", Params: []ir.Param{param("x", basic("int")), param("more", slice(basic("int")))}, Variadic: true,
		Results: []ir.Param{param("sum", basic("int"))}, Named: true, Err: "err",
	}
	return &ir.Package{
		Path: shopPath,
		Name: "shop",
		Services: []ir.Service{{
			Type: "Calc", Name: "calc", Doc: "Calc calculates.", Timeout: 30 * time.Second, Concurrency: 256,
			Methods: []ir.Method{add, {GoName: "Reset", Name: "Reset", Timeout: 30 * time.Second, Ctx: "ctx"}},
		}},
		Workers: []ir.Worker{{
			Type: "Resize", Name: "resize", Doc: "Resize shrinks one picture.", Max: 10, Timeout: 30 * time.Second, Retries: 5,
			Backoff: time.Second, Weight: 1, Isolation: "process", Payload: own("Picture"), Result: new(own("Thumb")),
			SubtasksDone: true,
		}},
		Defs: map[string]ir.Def{
			shopPath + ".Picture": {Members: []ir.Member{{Name: "url", Type: basic("string")}}},
			shopPath + ".Thumb":   {Members: []ir.Member{{Name: "png", Type: slice(basic("byte"))}}},
		},
		Taken:       []string{"Calc", "Picture", "Resize", "Thumb"},
		ImportNames: []string{"af", "context"},
	}
}

// golden compares the files of p with testdata/<name>, or rewrites those with -update.
func golden(t *testing.T, name string, p *ir.Package) {
	t.Helper()
	files, err := emit.Package(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	typeCheck(t, p, files)
	for _, f := range files {
		path := filepath.Join("testdata", name, f.Name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f.Content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(f.Content)); diff != "" {
			t.Errorf("%s: -want +got\n%s", path, diff)
		}
	}
}

func TestServiceAndWorker(t *testing.T) { golden(t, "shop", shop()) }
