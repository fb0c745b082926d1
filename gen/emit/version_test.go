package emit_test

import (
	"crypto/sha256"
	"encoding/hex"
	"go/scanner"
	"go/token"
	"go/types"
	"os"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

// clients returns a client package of shop, and shop without its client half.
func clients() (ir.Client, *ir.Package) {
	p := shop()
	// Types that are sent are in another package.
	p.Imports = map[string]string{"a.b/x": "x"}
	p.Workers[0].Payload, p.Workers[0].Result = other("a.b/x", "Picture"), new(other("a.b/x", "Thumb"))
	p.Services[0].Client, p.Workers[0].Client = "example.com/clients", "example.com/clients"
	return ir.Client{Path: "example.com/clients", Name: "clients"}, p
}

// emitted returns the Go files of some packages that use all features.
func emitted(t *testing.T) [][]byte {
	t.Helper()
	c, split := clients()
	var all [][]byte
	for _, p := range []*ir.Package{shop(), wide(), split} {
		files, err := emit.Package(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files[0].Content)
	}
	files, err := emit.Clients(c, []*ir.Package{split})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		all = append(all, f.Content)
	}
	return all
}

// digest hashes tokens, so that comments and layout don't change the version.
func digest(files [][]byte) string {
	h := sha256.New()
	for _, src := range files {
		fset := token.NewFileSet()
		var s scanner.Scanner
		s.Init(fset.AddFile("", -1, len(src)), src, nil, 0)
		for {
			_, tok, text := s.Scan()
			if tok == token.EOF {
				break
			}
			if text == "" {
				text = tok.String()
			}
			h.Write([]byte(text + " "))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func TestVersionChangesWithOutput(t *testing.T) {
	const file = "testdata/versions.txt"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var versions [][]string
	for line := range strings.Lines(string(content)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			versions = append(versions, f)
		}
	}
	for i, v := range versions {
		if len(v) != 3 || v[1] != "released" && (v[1] != "unreleased" || i < len(versions)-1) {
			t.Fatalf("%s: %q", file, v)
		}
	}
	last, now := versions[len(versions)-1], digest(emitted(t))
	switch {
	case last[0] != emit.Version:
		t.Errorf("%s ends with %s, but generated code mentions %s", file, last[0], emit.Version)
	case last[2] == now:
	case last[1] == "released":
		t.Errorf("generated code has changed since %s was released (%s, now %s): change emit.Version, "+
			"add the new constant to the runtime, remove the old one if the runtime no longer supports old files, "+
			"and add a line to %s", last[0], last[2], now, file)
	case *update:
		if err := os.WriteFile(file, []byte(strings.Replace(string(content), last[2], now, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("generated code has changed (%s, now %s); since %s is not released, -update records the change",
			last[2], now, last[0])
	}
}

// If the runtime has an older or newer version of generated code, all files fail to compile at a line with
// instructions.
func TestOtherRuntimeVersionsDontCompile(t *testing.T) {
	stub, err := os.ReadFile("testdata/runtime/runtime.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"Generated0", "Generated2"} {
		for _, file := range emitted(t) {
			lines := strings.Split(string(file), "\n")
			at := -1
			for i, line := range lines {
				if line == "const _ = af."+emit.Version {
					at = i
				}
			}
			if at < 1 || !strings.Contains(lines[at-1], "run go generate") {
				t.Fatalf("no version constant in\n%s", file)
			}
			only := strings.Join(lines[:at+1], "\n")
			only = strings.ReplaceAll(strings.ReplaceAll(only, `"a.b/x"`, ""), `"time"`, "")
			only = strings.ReplaceAll(only, `"context"`, "")
			packages := sources{map[string]string{"context": contextSource, "time": timeSource,
				runtimePath: strings.Replace(string(stub), emit.Version, other, 1)}, map[string]*types.Package{}}
			_, err := packages.check("p", map[string][]byte{"af_gen.go": []byte(only)})
			if err == nil || !strings.Contains(err.Error(), "undefined: af."+emit.Version) {
				t.Errorf("with %s: %v", other, err)
			}
		}
	}
}
