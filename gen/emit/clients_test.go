package emit_test

import (
	"bytes"
	"go/token"
	"go/types"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

// split splits p into a client package with its types and another package with its services and workers.
func split(p *ir.Package) (ir.Client, *ir.Package) {
	c := ir.Client{Path: p.Path, Name: p.Name, Taken: p.Taken, ImportNames: p.ImportNames}
	origin := &ir.Package{Path: "example.com/origin", Name: "origin", Defs: p.Defs,
		Imports: map[string]string{p.Path: p.Name}}
	maps.Copy(origin.Imports, p.Imports)
	for _, s := range p.Services {
		s.Client = c.Path
		origin.Services = append(origin.Services, s)
		origin.Taken = append(origin.Taken, s.Type)
	}
	for _, w := range p.Workers {
		w.Client = c.Path
		origin.Workers = append(origin.Workers, w)
		origin.Taken = append(origin.Taken, w.Type)
	}
	return c, origin
}

func mentionsUnexported(p *ir.Package) (found bool) {
	for _, typ := range mentioned(p) {
		typ.Walk(func(t ir.Type) {
			found = found || t.Kind == ir.Named && t.Path == p.Path && !token.IsExported(t.Name)
		})
	}
	return found
}

// Both halves compile in their packages with any names and locations of types.
func TestRandomHalvesCompile(t *testing.T) {
	stub, err := os.ReadFile("testdata/runtime/runtime.go")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := drawPackage(t)
		if p.Name == "main" {
			p.Name = "mainly" // package main can't have client halves
		}
		c, origin := split(p)
		server, err := emit.Package(origin, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if bytes.Contains(server[0].Content, []byte("af.Caller")) {
			t.Fatalf("the server half has a client:\n%s", server[0].Content)
		}
		if !mentionsUnexported(p) { // which other packages can't
			typeCheck(t, origin, server)
		}

		files, err := emit.Clients(c, []*ir.Package{origin})
		if err != nil {
			t.Fatalf("%v", err)
		}
		packages := sources{map[string]string{"context": contextSource, "time": timeSource}, map[string]*types.Package{}}
		maps.Copy(packages.files, declareOthers(p))
		packages.files[runtimePath] = string(stub)
		all := map[string][]byte{"user.go": []byte(declareOwn(p)), "imports.go": []byte(declareImports(p))}
		for _, f := range files {
			all[f.Name] = f.Content
			if emit.Origin(f.Content) != origin.Path || !emit.IsGenerated(f.Name, f.Content) {
				t.Fatalf("not recognized:\n%s", f.Content)
			}
		}
		if _, err := packages.check(c.Path, all); err != nil {
			t.Fatalf("%v\n%s", err, all)
		}
		if len(files) != len(origin.Services)+len(origin.Workers) {
			t.Fatalf("%d files", len(files))
		}
	})
}

// If the client package is annotated itself, its output and the client halves declare different names.
func TestHalvesAvoidNamesOfOwnOutput(t *testing.T) {
	list := ir.Method{GoName: "List", Name: "List"}
	mine := service(list)
	mine.Services[0].Type, mine.Services[0].Name, mine.Taken = "UserGroup", "user_group", []string{"UserGroup"}
	theirs := service(ir.Method{GoName: "GroupList", Name: "GroupList"})
	theirs.Path, theirs.Services[0].Type, theirs.Services[0].Client = "example.com/user", "User", mine.Path
	files, err := emit.Clients(ir.Client{Path: mine.Path, Name: mine.Name, Taken: mine.Taken}, []*ir.Package{theirs, mine})
	if err != nil {
		t.Fatal(err)
	}
	own := mustEmit(t, mine)
	if !strings.Contains(own, "var afUserGroupList = ") ||
		!strings.Contains(string(files[0].Content), "var afUserGroupList2 = ") {
		t.Errorf("%s\n%s", own, files[0].Content)
	}
	names := func(files []emit.File) (all []string) {
		for _, f := range files {
			all = append(all, f.Name)
		}
		return all
	}
	if got := names(files); !slices.Equal(got, []string{emit.ClientFile(theirs.Services[0].Name)}) {
		t.Error(got)
	}
}

// A single import has the same layout as several.
func TestClientsWithOneImport(t *testing.T) {
	p := worker(basic("int"), nil)
	p.Workers[0].Client = "example.com/clients"
	files, err := emit.Clients(ir.Client{Path: "example.com/clients", Name: "clients"}, []*ir.Package{p})
	if err != nil {
		t.Fatal(err)
	}
	want := "package clients\n\nimport (\n\taf \"" + runtimePath + "\"\n)\n\n"
	if got := string(files[0].Content); !strings.Contains(got, want) {
		t.Errorf("no\n%s\nin\n%s", want, got)
	}
}

func TestInvalidClients(t *testing.T) {
	c, origin := split(shop())
	c.Taken = []string{"CalcClient"}
	if files, err := emit.Clients(c, []*ir.Package{origin}); err == nil ||
		!strings.Contains(err.Error(), "the name CalcClient is taken") {
		t.Errorf("%v, %v", files, err)
	}
	origin.Workers[0].Payload = ir.Type{Kind: ir.Pointer}
	c.Taken = nil
	if files, err := emit.Clients(c, []*ir.Package{origin}); err == nil || files != nil {
		t.Errorf("%v, %v", files, err)
	}
}
