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

// clients is a client package of shop, and shop as it is then.
func clients() (ir.Client, *ir.Package) {
	p := shop()
	// The types that travel are elsewhere.
	p.Imports = map[string]string{"a.b/x": "x"}
	p.Workers[0].Payload, p.Workers[0].Result = other("a.b/x", "Picture"), new(other("a.b/x", "Thumb"))
	p.Services[0].Client, p.Workers[0].Client = "example.com/clients", "example.com/clients"
	return ir.Client{Path: "example.com/clients", Name: "clients"}, p
}

// emitted are the Go files of a few packages with everything that there is.
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

// digest is of the tokens: comments and layout make no version.
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

func TestVersionMovesWithTheOutput(t *testing.T) {
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
		t.Errorf("%s ends with %s, and generated code mentions %s", file, last[0], emit.Version)
	case last[2] == now:
	case last[1] == "released":
		t.Errorf("generated code has changed since %s was released (%s, now %s): move emit.Version, give the runtime the new constant, "+
			"drop the old one where the runtime no longer fits old files, and add a line to %s", last[0], last[2], now, file)
	case *update:
		if err := os.WriteFile(file, []byte(strings.Replace(string(content), last[2], now, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("generated code has changed (%s, now %s); -update notes that, since %s is not released", last[2], now, last[0])
	}
}

// Where the runtime has another version of generated code, in either direction, the build fails at a line that says
// what to do, in every file.
func TestOtherVersionsOfTheRuntimeDoNotCompile(t *testing.T) {
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
				t.Fatalf("no handshake in\n%s", file)
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
