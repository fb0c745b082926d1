package contract

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/afgen/afgen/gen/ir"
)

// MethodFingerprint returns the fingerprint of m's request and reply together.
func MethodFingerprint(p *ir.Package, m ir.Method) string { return digest(methodText(p, m)) }

// TypeFingerprint returns the fingerprint of a payload or result.
func TypeFingerprint(p *ir.Package, t ir.Type) string { return digest(typeText(p, t)) }

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

func methodText(p *ir.Package, m ir.Method) string {
	g := newGraph(p)
	return g.text(g.method(m))
}

func typeText(p *ir.Package, t ir.Type) string {
	g := newGraph(p)
	return g.text(g.value(t))
}

// object returns the members of a request or reply.
func object(params []ir.Param) []ir.Member {
	members := make([]ir.Member, len(params))
	for i, p := range params {
		members[i] = ir.Member{Name: p.Member, Type: p.Type}
	}
	return members
}

// A graph has a node for each compound type in a text. It may have cycles, and several types with the same structure.
// Texts may share a graph.
type graph struct {
	pkg     *ir.Package
	nodes   []node
	index   map[string]int // by the ID of the type
	classes []int          // see classify
}

// A node is one compound type.
type node struct {
	body
	isStruct bool
}

// A body is a part of a text with references to nodes.
type body struct {
	text []byte
	refs []ref
}

// A ref is a reference to a node at an offset in the text.
type ref struct{ offset, node int }

func (b *body) write(s string) { b.text = append(b.text, s...) }

func (b *body) refer(to int) { b.refs = append(b.refs, ref{len(b.text), to}) }

// expand appends the body to text. It calls replace to append each reference.
func (b *body) expand(text []byte, replace func(text []byte, node int) []byte) []byte {
	begin := 0
	for _, r := range b.refs {
		text = append(text, b.text[begin:r.offset]...)
		text = replace(text, r.node)
		begin = r.offset
	}
	return append(text, b.text[begin:]...)
}

func newGraph(p *ir.Package) *graph { return &graph{pkg: p, index: map[string]int{}} }

// sharedGraph returns a graph with the nodes of all that p sends.
func sharedGraph(p *ir.Package) *graph {
	g := newGraph(p)
	for _, s := range p.Services {
		for _, m := range s.Methods {
			g.method(m)
		}
	}
	for _, w := range p.Workers {
		g.value(w.Payload)
		if w.Result != nil {
			g.value(*w.Result)
		}
	}
	return g
}

// method returns m's request and reply.
func (g *graph) method(m ir.Method) (root body) {
	g.members(&root, object(m.Params))
	root.write("->")
	g.members(&root, object(m.Results))
	return root
}

// value returns a payload or result.
func (g *graph) value(t ir.Type) (root body) {
	g.mention(&root, t)
	return root
}

// mention writes t to b, as a reference to its node if it is a compound type.
func (g *graph) mention(b *body, t ir.Type) {
	switch t.Kind {
	case ir.Basic:
		b.write(basic(t.Name))
	case ir.Any:
		b.write("any")
	case ir.Named:
		g.mentionNamed(b, t)
	case ir.Pointer:
		b.refer(g.node(t, func(b *body) { b.write("*"); g.mention(b, *t.Elem) }))
	case ir.Slice:
		b.refer(g.node(t, func(b *body) { b.write("[]"); g.mention(b, *t.Elem) }))
	case ir.Array:
		b.refer(g.node(t, func(b *body) { b.write("[" + strconv.FormatInt(t.Len, 10) + "]"); g.mention(b, *t.Elem) }))
	case ir.Map:
		b.refer(g.node(t, func(b *body) {
			b.write("map[")
			g.mention(b, *t.Key)
			b.write("]")
			g.mention(b, *t.Elem)
		}))
	case ir.Struct:
		b.refer(g.node(t, func(b *body) { g.members(b, membersOf(g.pkg, t)) }))
	}
}

func (g *graph) mentionNamed(b *body, t ir.Type) {
	def, ok := g.pkg.Defs[t.ID()]
	switch {
	case !ok:
		b.write("unknown(" + t.ID() + ")")
	case def.Encoding != "":
		b.write(def.Encoding + "(" + t.ID() + ")")
	case def.Standard && len(t.Args) == 0:
		b.write("std(" + t.ID() + ")")
	case def.Underlying != nil:
		g.mention(b, *def.Underlying)
	default:
		b.refer(g.node(t, func(b *body) { g.members(b, def.Members) }))
	}
}

func basic(name string) string {
	switch name {
	case "byte":
		return "uint8"
	case "rune":
		return "int32"
	}
	return name
}

// node returns the node of t. If it is new, it calls write to fill it.
func (g *graph) node(t ir.Type, write func(*body)) int {
	id := t.ID()
	if n, ok := g.index[id]; ok {
		return n
	}
	n := len(g.nodes)
	g.index[id] = n
	g.nodes = append(g.nodes, node{isStruct: t.Kind == ir.Struct || t.Kind == ir.Named})
	var b body
	write(&b) // may append nodes and refer to this one
	g.nodes[n].body = b
	return n
}

// members writes a struct.
func (g *graph) members(b *body, members []ir.Member) {
	// The sort is stable: embedded structs, which have no name, are first and in source order.
	sorted := slices.Clone(members)
	slices.SortStableFunc(sorted, func(x, y ir.Member) int { return cmp.Compare(x.Name, y.Name) })
	b.write("{")
	for i, m := range sorted {
		if i > 0 {
			b.write(",")
		}
		if m.Name == "" {
			b.write("...")
			g.mention(b, m.Type)
			continue
		}
		b.write(`"` + m.Name + `"`)
		if m.Optional {
			b.write("?")
		}
		b.write(":")
		if m.Quoted {
			b.write(`"`)
		}
		g.mention(b, m.Type)
		if m.Quoted {
			b.write(`"`)
		}
	}
	b.write("}")
}

// text returns the text of root with all references expanded.
func (g *graph) text(root body) string {
	if len(g.classes) != len(g.nodes) {
		g.classify()
	}
	number := map[int]int{} // by class, in order of appearance
	open := map[int]bool{}
	var write func(text []byte, node int) []byte
	write = func(text []byte, node int) []byte {
		c := g.classes[node]
		n, begun := number[c]
		if begun && (g.nodes[node].isStruct || open[c]) {
			return appendNumber(text, n)
		}
		if !begun {
			number[c] = len(number)
		}
		open[c] = true
		defer delete(open, c)
		return g.nodes[node].expand(text, write)
	}
	return string(root.expand(nil, write))
}

func appendNumber(text []byte, n int) []byte {
	return strconv.AppendInt(append(text, '^'), int64(n), 10)
}

// classify sets the class of each node. Nodes with the same JSON have the same class. It begins with one class and
// splits classes until all nodes of a class have the same text and refer to nodes of the same classes.
func (g *graph) classify() {
	g.classes = make([]int, len(g.nodes))
	appendClass := func(text []byte, node int) []byte { return appendNumber(text, g.classes[node]) }
	var text []byte
	for count := 0; ; {
		seen := map[string]int{}
		next := make([]int, len(g.nodes))
		for i, n := range g.nodes {
			text = n.expand(text[:0], appendClass)
			class, ok := seen[string(text)]
			if !ok {
				class = len(seen)
				seen[string(text)] = class
			}
			next[i] = class
		}
		g.classes = next
		if len(seen) == count {
			return
		}
		count = len(seen)
	}
}
