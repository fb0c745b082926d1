package golden

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/internal/testkit"
)

var (
	wireTypes = flag.Int("types", 0, "how many random types are sent; 0 is the usual number")
	wireFirst = flag.Int("first", 0, "the index of the first random type, to resume or repeat a run")
)

// wireBatch is the number of types in one program.
const wireBatch = 400

// Values of accepted types arrive as sent through generated clients, servers and queues, and the contract lists exactly
// the members on the wire. Other types have a diagnostic.
func TestRandomTypes(t *testing.T) {
	n := *wireTypes
	if n == 0 {
		n = testkit.Fewer(wireBatch, 50)
	}
	accepted, codes := 0, map[diag.Code]int{}
	for first := *wireFirst; first < *wireFirst+n; first += wireBatch {
		count := min(wireBatch, *wireFirst+n-first)
		accepted += sendBatch(t, first, count, codes)
		if t.Failed() {
			t.Fatalf("repeat with go test ./golden -run %s -first %d -types %d", t.Name(), first, count)
		}
		if *wireTypes > 0 {
			t.Logf("types %d to %d: all as they should be", first, first+count-1)
		}
	}
	t.Logf("%d types, %d accepted, rejected by code: %v", n, accepted, codes)
	if accepted*3 < n || accepted*10 > n*9 {
		t.Error("almost all types are rejected, or almost all are accepted")
	}
}

// sendBatch generates code for a batch of types, sends values of the accepted ones, and returns their number.
func sendBatch(t *testing.T, first, count int, codes map[diag.Code]int) (accepted int) {
	t.Helper()
	return send(t, acceptedTypes(t, module(t), drawWireTypes(first, count), nil, codes))
}

// send sends values of types and returns their number. It omits types on which the Go compiler fails. An example in Go
// 1.26 is a struct with a field of a generic type that is instantiated with an alias for a map of that struct.
func send(t *testing.T, sendable []drawn) int {
	t.Helper()
	dir := module(t)
	writeWireProgram(t, dir, sendable)
	plan, err := gen.Generate(t.Context(), dir, []string{"."}, gen.Options{})
	if err != nil || len(plan.Diagnostics) > 0 {
		t.Fatalf("types that were accepted before: %v, %v", err, plan.Diagnostics)
	}
	if err := plan.Apply(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"values", "main"} {
		source, err := os.ReadFile("wire/" + file + ".go.txt")
		if err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, filepath.Join(dir, file+".go"), string(source))
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-N -l", "-ldflags=-s -w", "-o", "wire", ".")
	build.Dir, build.Env = dir, goEnv()
	switch out, err := build.CombinedOutput(); {
	case err == nil:
	case !bytes.Contains(out, []byte("internal compiler error")):
		t.Fatalf("go build: %v\n%s", err, out)
	case len(sendable) == 1:
		t.Logf("the compiler fails on type %d:\n%s%s", sendable[0].index, sendable[0].decls, sendable[0].expr)
		return 0
	default:
		half := len(sendable) / 2
		return send(t, sendable[:half]) + send(t, sendable[half:])
	}
	cmd := exec.CommandContext(t.Context(), "./wire")
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v", err)
	}
	for line := range strings.Lines(stderr.String()) {
		if rest, ok := strings.CutPrefix(line, "type "); ok {
			var index int
			fmt.Sscanf(rest, "%d", &index)
			typ := drawWireType(index)
			t.Errorf("%s%s%s", line, typ.decls, typ.expr)
		}
	}
	if t.Failed() {
		t.Logf("%s", stderr.String()[:min(stderr.Len(), 2000)])
		return 0
	}
	checkMembers(t, plan, filepath.Join(dir, "af.contract.json"), stdout.Bytes())
	return len(sendable)
}

// acceptedTypes returns the types that afgen accepts. Each of the others must have a diagnostic. env is the environment
// of the go command.
func acceptedTypes(t *testing.T, dir string, all []drawn, env []string, codes map[diag.Code]int) []drawn {
	t.Helper()
	var b strings.Builder
	b.WriteString("package main\n\n" + wireImports + "\n//af:rpc\ntype S struct{}\n\n")
	for _, typ := range all {
		fmt.Fprintf(&b, "%sfunc (s *S) E%d(ctx context.Context, p %s) error { return nil }\n\n", typ.decls, typ.index,
			typ.expr)
	}
	testkit.Write(t, filepath.Join(dir, "types.go"), b.String())
	plan, err := gen.Generate(t.Context(), dir, []string{"."}, gen.Options{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	refused := map[int]bool{}
	for _, d := range plan.Diagnostics {
		var index int
		if n, _ := fmt.Sscanf(d.Message, "E%d: ", &index); n != 1 || d.Code != diag.CannotTravel &&
			d.Code != diag.FieldLost || d.Hint == "" {
			t.Fatalf("%d: %s: %s", d.Pos.Line, d.Code, d.Message)
		}
		refused[index] = true
		codes[d.Code]++
	}
	methods := map[string]bool{}
	for _, s := range plan.Packages[0].IR.Services {
		for _, m := range s.Methods {
			methods[m.GoName] = true
		}
	}
	var out []drawn
	for _, typ := range all {
		if methods[fmt.Sprintf("E%d", typ.index)] == refused[typ.index] {
			t.Errorf("type %d is rejected without a diagnostic, or accepted with one:\n%s%s", typ.index, typ.decls, typ.expr)
		}
		if !refused[typ.index] {
			out = append(out, typ)
		}
	}
	return out
}

// writeWireProgram writes a service and workers that return their arguments, and the calls. Several types share a
// method to save compile time.
func writeWireProgram(t *testing.T, dir string, all []drawn) {
	t.Helper()
	const together, worker = 8, 40
	var types, calls, registers, submits strings.Builder
	types.WriteString("package main\n\n" + wireImports + "\n//af:rpc\ntype S struct{}\n\n")
	for i, typ := range all {
		types.WriteString(typ.decls)
		if i%worker == 0 {
			fmt.Fprintf(&types, "//af:worker\ntype W%d struct{}\n\n"+
				"func (w *W%[1]d) Run(ctx context.Context, p %s) (%[2]s, error) { return p, nil }\n", typ.index, typ.expr)
			fmt.Fprintf(&registers, "\tRegisterW%d(app, &W%[1]d{})\n", typ.index)
			fmt.Fprintf(&submits, "\t{\n\t\tvar want, got %s\n\t\tdraw(f, 0, &want)\n"+
				"\t\tid, err := NewW%dQueue(app).Submit(ctx, want)\n"+
				"\t\tif err == nil {\n\t\t\tgot, err = NewW%[2]dQueue(app).Wait(ctx, id)\n\t\t}\n"+
				"\t\tcompare(%[2]d, err, &want, &got)\n\t}\n", typ.expr, typ.index)
		}
	}
	for group := range slices.Chunk(all, together) {
		name := fmt.Sprintf("G%d", group[0].index)
		var params, results, values, returned, declared, compared []string
		for _, typ := range group {
			params = append(params, fmt.Sprintf("p%d %s", typ.index, typ.expr))
			results = append(results, fmt.Sprintf("r%d %s", typ.index, typ.expr))
			values = append(values, fmt.Sprintf("p%d", typ.index))
			returned = append(returned, fmt.Sprintf("r%d", typ.index))
			declared = append(declared, fmt.Sprintf("\tvar p%d %s\n\tdraw(f, round, &p%[1]d)\n", typ.index, typ.expr))
			compared = append(compared, fmt.Sprintf("\tcompare(%d, err, &p%[1]d, &r%[1]d)\n", typ.index))
		}
		fmt.Fprintf(&types, "func (s *S) %s(ctx context.Context, %s) (%s, err error) { return %s, nil }\n\n",
			name, strings.Join(params, ", "), strings.Join(results, ", "), strings.Join(values, ", "))
		fmt.Fprintf(&calls, "func call%s(ctx context.Context, c *SClient, f filler, round int) {\n"+
			"%s\t%s, err := c.%[1]s(ctx, %[4]s)\n%[5]s}\n\n",
			name, strings.Join(declared, ""), strings.Join(returned, ", "), strings.Join(values, ", "), strings.Join(compared,
				""))
	}
	calls.WriteString("func callAll(ctx context.Context, c *SClient, f filler, round int) {\n")
	for group := range slices.Chunk(all, together) {
		fmt.Fprintf(&calls, "\tcallG%d(ctx, c, f, round)\n", group[0].index)
	}
	fmt.Fprintf(&calls, "}\n\nfunc register(app *af.App) {\n\tRegisterS(app, &S{})\n%s}\n\n"+
		"func submitAll(ctx context.Context, app *af.App, f filler) {\n%s}\n",
		registers.String(), submits.String())
	testkit.Write(t, filepath.Join(dir, "types.go"), types.String())
	testkit.Write(t, filepath.Join(dir, "calls.go"), "package main\n\n"+
		strings.Replace(wireImports, "\t\"time\"\n", "\t\"time\"\n\n\taf \"github.com/afgen/afgen/runtime\"\n",
			1)+"\n"+calls.String())
}

// checkMembers compares the members on the wire with the contract.
func checkMembers(t *testing.T, plan *gen.Plan, file string, wire []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	promised, err := contract.Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.Packages[0].IR
	m := &members{t: t, pkg: p, contract: promised, sent: map[string]map[string]bool{}, shallow: map[string]bool{},
		named: map[string]ir.Type{}}
	methods := map[string]ir.Method{}
	for _, method := range p.Services[0].Methods {
		methods[method.Name] = method
	}
	decoder := json.NewDecoder(bytes.NewReader(wire))
	for decoder.More() {
		var call struct {
			Method        string
			Args, Results map[string]json.RawMessage
		}
		if err := decoder.Decode(&call); err != nil {
			t.Fatal(err)
		}
		method := methods[call.Method]
		for _, side := range []struct {
			params []ir.Param
			sent   map[string]json.RawMessage
		}{{method.Params, call.Args}, {method.Results, call.Results}} {
			if len(side.params) != len(side.sent) {
				t.Errorf("%s: %d members are on the wire, %d in the contract", call.Method, len(side.sent), len(side.params))
			}
			for _, param := range side.params {
				m.check(param.Type, side.sent[param.Member], call.Method+"."+param.Member)
			}
		}
	}
	// Optional members must occur once, except deeply nested ones, which may always be empty.
	for name, sent := range m.sent {
		if !m.shallow[name] {
			continue
		}
		for member := range maps.Keys(m.members(name)) {
			if !sent[member] && !holdsNothing(p, m.types(m.named[name])[member]) {
				typ := drawWireType(indexOf(name))
				t.Errorf("member %s of %s is in the contract but never on the wire:\n%s%s", member, name, typ.decls, typ.expr)
			}
		}
	}
}

// holdsNothing reports whether a type has only the zero value, so that omitzero always omits it.
func holdsNothing(p *ir.Package, t ir.Type) bool {
	def := p.Defs[t.ID()]
	switch {
	case t.Kind == ir.Array:
		return t.Len == 0 || holdsNothing(p, *t.Elem)
	case t.Kind == ir.Named && def.Underlying != nil:
		return holdsNothing(p, *def.Underlying)
	case t.Kind == ir.Named:
		return def.Encoding == "" &&
			!slices.ContainsFunc(def.Members, func(m ir.Member) bool { return !holdsNothing(p, m.Type) })
	case t.Kind == ir.Struct:
		return !slices.ContainsFunc(t.Fields, func(f ir.Field) bool { return !holdsNothing(p, f.Type) })
	}
	return false
}

// indexOf returns the index of the random type that a name belongs to.
func indexOf(name string) (index int) {
	_, _ = fmt.Sscanf(strings.TrimLeft(name, "Tt"), "%d", &index)
	return index
}

// members compares JSON with a contract.
type members struct {
	t        *testing.T
	pkg      *ir.Package
	contract contract.Contract
	sent     map[string]map[string]bool // members by type
	shallow  map[string]bool            // types that occur near the top
	named    map[string]ir.Type
}

func (m *members) spell(t ir.Type) string {
	return t.Spell(func(path, name string) string {
		if path == m.pkg.Path {
			return name
		}
		return path + "." + name
	})
}

// members returns the members of a struct in the contract, including those of embedded structs. Members of an embedded
// pointer are optional.
func (m *members) members(name string) map[string]contract.Member {
	all := map[string]contract.Member{}
	described := m.contract.Types[strings.TrimPrefix(name, "*")]
	for described.Underlying != "" {
		described = m.contract.Types[described.Underlying]
	}
	maps.Copy(all, described.Members)
	for _, embedded := range described.Embeds {
		for member, inner := range m.members(embedded) {
			inner.Optional = inner.Optional || strings.HasPrefix(embedded, "*")
			all[member] = inner
		}
	}
	return all
}

// note records that members of a struct and its embedded structs were on the wire.
func (m *members) note(name string, members ...string) {
	if m.sent[name] == nil {
		m.sent[name] = map[string]bool{}
	}
	for _, member := range members {
		m.sent[name][member] = true
		for _, embedded := range m.contract.Types[name].Embeds {
			if _, ok := m.members(embedded)[member]; ok {
				m.note(strings.TrimPrefix(embedded, "*"), member)
			}
		}
	}
}

// types returns the member types of a struct.
func (m *members) types(t ir.Type) map[string]ir.Type {
	if t.Kind == ir.Pointer {
		t = *t.Elem
	}
	all := map[string]ir.Type{}
	def := m.pkg.Defs[t.ID()]
	if def.Underlying != nil {
		return m.types(*def.Underlying)
	}
	for _, member := range def.Members {
		if member.Name == "" {
			maps.Copy(all, m.types(member.Type))
			continue
		}
		all[member.Name] = member.Type
	}
	return all
}

func (m *members) check(t ir.Type, sent json.RawMessage, path string) {
	fail := func(format string, args ...any) {
		m.t.Errorf("%s, %s: %s: %.200s", path, m.spell(t), fmt.Sprintf(format, args...), sent)
	}
	var null bool
	if len(sent) == 0 {
		fail("not on the wire")
		return
	}
	null = string(sent) == "null"
	first := sent[0]
	switch t.Kind {
	case ir.Named:
		def := m.pkg.Defs[t.ID()]
		described, known := m.contract.Types[m.spell(t)]
		switch {
		case !known:
			fail("not in the contract")
		case described.Encoding == ir.EncodingText && first != '"':
			fail("text is no string")
		case described.Encoding != "":
		case described.Underlying != "":
			m.check(*def.Underlying, sent, path)
		default:
			m.object(t, sent, path)
		}
	case ir.Pointer:
		if !null {
			m.check(*t.Elem, sent, path)
		}
	case ir.Slice, ir.Array:
		var elems []json.RawMessage
		bytes := t.Kind == ir.Slice && first == '"'
		if !null && !bytes {
			if err := json.Unmarshal(sent, &elems); err != nil {
				fail("%v", err)
			}
		}
		for _, e := range elems {
			m.check(*t.Elem, e, path+"[]")
		}
	case ir.Map:
		var elems map[string]json.RawMessage
		if err := json.Unmarshal(sent, &elems); err != nil {
			fail("%v", err)
		}
		for _, e := range elems {
			m.check(*t.Elem, e, path+"[]")
		}
	case ir.Basic:
		want := map[string]string{"string": `"`, "bool": "tf"}[t.Name]
		if want == "" {
			want = "-0123456789"
		}
		if !strings.Contains(want, string(first)) {
			fail("no %s", t.Name)
		}
	}
}

// object checks a struct.
func (m *members) object(t ir.Type, sent json.RawMessage, path string) {
	name := m.spell(t)
	var object map[string]json.RawMessage
	if err := json.Unmarshal(sent, &object); err != nil {
		m.t.Errorf("%s, %s: %v: %s", path, name, err, sent)
		return
	}
	m.note(name)
	if strings.Count(path, ".")+strings.Count(path, "[]") <= 3 {
		m.shallow[name] = true
	}
	m.named[name] = t
	promised, types := m.members(name), m.types(t)
	for member, value := range object {
		p, ok := promised[member]
		switch {
		case !ok:
			m.t.Errorf("%s: member %q of %s is on the wire but not in the contract: %s", path, member, name, sent)
		case p.Quoted:
			if value[0] != '"' && string(value) != "null" {
				m.t.Errorf("%s: member %q of %s is quoted in the contract: %s", path, member, name, sent)
			}
		default:
			m.check(types[member], value, path+"."+member)
		}
		m.note(name, member)
	}
	for member, p := range promised {
		if _, ok := object[member]; !ok && !p.Optional {
			m.t.Errorf("%s: member %q of %s is in the contract but not on the wire: %s", path, member, name, sent)
		}
	}
}
