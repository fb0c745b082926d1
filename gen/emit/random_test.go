package emit_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/gen/emit"
	"github.com/afgen/afgen/gen/ir"
)

// nasty returns names that are difficult for a generator.
func nasty() []string {
	return []string{
		"c", "r", "s", "a", "w", "t", "ctx", "err", "client", "reply", "callCtx", "callErr", "impl", "opts", "tasks",
		"client2",
		"af", "af2", "context", "time", "user", "string", "int", "error", "nil", "true", "any", "len", "struct_", "arg7",
		"param0",
		"arg0x", "x", "X", "x2", "_x", "日", "ß", "afS", "afSB", "afSBArgs", "afSBReply", "afSBHandler", "afSB2", "SClient",
		"Item",
	}
}

// others returns the packages of types.
func others() map[string]string {
	return map[string]string{
		"example.com/user": "user", "example.com/admin/user/v2": "user", "example.com/x-y/user": "user", "a.b/af": "af",
		"a.b/context": "context", "a.b/string": "string", "a.b/err": "err", "a.b/init": "init", "a.b/c": "c", "a.b/t": "t",
		"a.b/go-afs": "afS", "internal/time": "time", "a.b/ctx/context": "context", "a.b/日": "日",
	}
}

func drawType(t *rapid.T, depth int) ir.Type {
	kinds := []ir.Kind{ir.Basic, ir.Any, ir.Named, ir.Named, ir.Pointer, ir.Slice, ir.Array, ir.Map, ir.Struct}
	if depth == 0 {
		kinds = kinds[:2]
	}
	elem := func() *ir.Type { return new(drawType(t, depth-1)) }
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case ir.Any:
		return ir.Type{Kind: ir.Any, Name: rapid.SampledFrom([]string{"any", "interface{}"}).Draw(t, "any")}
	case ir.Named:
		return drawNamed(t, depth)
	case ir.Pointer, ir.Slice:
		return ir.Type{Kind: kind, Elem: elem()}
	case ir.Array:
		return ir.Type{Kind: kind, Len: rapid.Int64Range(0, 3).Draw(t, "len"), Elem: elem()}
	case ir.Map:
		return ir.Type{Kind: kind, Key: new(basic("string")), Elem: elem()}
	case ir.Struct:
		record := ir.Type{Kind: ir.Struct}
		for _, name := range drawNames(t, rapid.IntRange(0, 3).Draw(t, "fields")) {
			tag := rapid.SampledFrom([]string{"", `json:"a"`, "json:\"`\"", "\n\x00"}).Draw(t, "tag")
			record.Fields = append(record.Fields, ir.Field{Name: name, Tag: tag, Type: *elem()})
		}
		return record
	default:
		return basic(rapid.SampledFrom([]string{"bool", "int", "string", "byte", "rune", "float64"}).Draw(t, "basic"))
	}
}

func drawNamed(t *rapid.T, depth int) ir.Type {
	paths := []string{shopPath, shopPath, "time", runtimePath}
	for path := range others() {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	switch path := rapid.SampledFrom(paths).Draw(t, "path"); path {
	case "time":
		return other(path, "Duration")
	case runtimePath:
		return other(path, "Task")
	case shopPath:
		name := rapid.SampledFrom([]string{"Item", "t", "c", "r", "tasks", "impl", "ctx", "err", "afSB"}).Draw(t, "name")
		return other(path, name)
	default:
		if rapid.Bool().Draw(t, "generic") {
			return other(path, "Pair", drawType(t, depth-1), drawType(t, depth-1))
		}
		return other(path, rapid.SampledFrom([]string{"Item", "T"}).Draw(t, "name"))
	}
}

// drawNames draws n different names.
func drawNames(t *rapid.T, n int) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(nasty()), n, n, rapid.ID).Draw(t, "names")
}

func drawMethod(t *rapid.T, name string) ir.Method {
	params, results := rapid.IntRange(0, 4).Draw(t, "params"), rapid.IntRange(0, 3).Draw(t, "results")
	names := drawNames(t, params+results+2)
	draw := func(member string, named bool, i int) ir.Param {
		p := ir.Param{Member: fmt.Sprintf("%s%d", member, i), Type: drawType(t, 3)}
		if named && rapid.IntRange(0, 3).Draw(t, "blank") > 0 {
			p.Name, names = names[0], names[1:]
			p.Member = p.Name
		}
		return p
	}
	m := ir.Method{
		GoName:     name,
		Name:       name,
		Doc:        drawDoc(t),
		Timeout:    time.Duration(rapid.Int64Range(1, 1e13).Draw(t, "timeout")),
		Idempotent: rapid.Bool().Draw(t, "idempotent"),
		Named:      rapid.Bool().Draw(t, "named results"),
	}
	named := rapid.Bool().Draw(t, "named parameters")
	for i := range params {
		m.Params = append(m.Params, draw("arg", named, i))
	}
	for i := range results {
		m.Results = append(m.Results, draw("result", m.Named, i))
	}
	if named && rapid.Bool().Draw(t, "ctx") {
		m.Ctx, names = names[0], names[1:]
	}
	if m.Named && rapid.Bool().Draw(t, "err") {
		m.Err = names[0]
	}
	if params > 0 && m.Params[params-1].Type.Kind == ir.Slice {
		m.Variadic = rapid.Bool().Draw(t, "variadic")
	}
	return m
}

func drawDoc(t *rapid.T) string {
	lines := []string{
		"", "", "M does, at some length.", "\tcode", "  - one", "1. two", "# Heading", "go:generate x", "Deprecated: x.",
		"[X]: http://x",
		" odd", "*/", "//", "+build x", "nolint",
	}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(lines), 0, 6).Draw(t, "doc"), "\n")
}

// drawPackage draws a package that scan could return. Type names, and the exported names derived from them, don't
// conflict. Names of helpers, imports and locals may.
func drawPackage(t *rapid.T) *ir.Package {
	p := &ir.Package{
		Path:    shopPath,
		Name:    rapid.SampledFrom([]string{"shop", "main", "af", "context", "c"}).Draw(t, "package"),
		Imports: others(),
	}
	annotated := []string{"S", "SB", "User", "UserGroup", "Generated1"}
	n := rapid.IntRange(0, 3).Draw(t, "services")
	for _, name := range annotated[:n] {
		s := ir.Service{Type: name, Name: strings.ToLower(name), Doc: drawDoc(t), Timeout: time.Second, Concurrency: 1}
		methods := []string{"B", "BArgs", "BReply", "BHandler", "C", "GroupList", "List", "Args", "BArgsHandler"}
		drawn := rapid.SliceOfNDistinct(rapid.SampledFrom(methods), 0, 4, rapid.ID).Draw(t, "methods")
		slices.Sort(drawn)
		for _, m := range drawn {
			s.Methods = append(s.Methods, drawMethod(t, m))
		}
		p.Services = append(p.Services, s)
	}
	for _, name := range annotated[n : n+rapid.IntRange(1, 2).Draw(t, "workers")] {
		w := ir.Worker{
			Type: name, Name: strings.ToLower(name), Doc: drawDoc(t), Max: 1, Weight: 1, Isolation: "process",
			Timeout: time.Duration(rapid.Int64Range(0, 1e13).Draw(t, "timeout")), Payload: drawType(t, 3),
			SubtasksDone: rapid.Bool().Draw(t, "subtasks"),
		}
		if rapid.Bool().Draw(t, "result") {
			w.Result = new(drawType(t, 3))
		}
		p.Workers = append(p.Workers, w)
	}
	p.Taken = drawTaken(t, p)
	free := slices.DeleteFunc(nasty(),
		func(name string) bool { return slices.Contains(p.Taken, name) || name == "SClient" })
	p.ImportNames = rapid.SliceOfDistinct(rapid.SampledFrom(free), rapid.ID).Draw(t, "import names")
	return p
}

// drawTaken returns the names that the package declares, and others.
func drawTaken(t *rapid.T, p *ir.Package) []string {
	more := []string{
		"af", "af2", "context", "time", "time2", "user", "adminuser", "afS", "afSB", "afSB2", "afSBArgs", "afSCHandler",
		"afUserList",
		"c", "r", "opts", "impl", "err", "ctx", "len", "append", "日",
	}
	taken := rapid.SliceOfDistinct(rapid.SampledFrom(more), rapid.ID).Draw(t, "taken")
	for _, s := range p.Services {
		taken = append(taken, s.Type)
	}
	for _, w := range p.Workers {
		taken = append(taken, w.Type)
	}
	for _, typ := range mentioned(p) {
		typ.Walk(func(t ir.Type) {
			if t.Kind == ir.Named && t.Path == p.Path {
				taken = append(taken, t.Name)
			}
		})
	}
	slices.Sort(taken)
	return slices.Compact(taken)
}

func TestRandomPackagesCompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPackage(t)
		files, err := emit.Package(p, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		typeCheck(t, p, files)
		again, err := emit.Package(p, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for i := range files {
			if !bytes.Equal(files[i].Content, again[i].Content) {
				t.Fatalf("%s differs the second time:\n%s\n%s", files[i].Name, files[i].Content, again[i].Content)
			}
			if !emit.IsGenerated(files[i].Name, files[i].Content) {
				t.Fatalf("%s is not recognized", files[i].Name)
			}
		}
	})
}
