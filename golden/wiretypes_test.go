package golden

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A drawn is a random type with its declarations.
type drawn struct {
	index int
	decls string
	expr  string
}

// wireImports are imports for random types, with uses so that they compile.
const wireImports = `import (
	"context"
	"database/sql"
	"encoding/json"
	"math/big"
	"net/netip"
	"net/url"
	"time"
)

var (
	_ context.Context
	_ sql.NullString
	_ json.RawMessage
	_ big.Int
	_ netip.Addr
	_ url.URL
	_ time.Time
)
`

// A drawer generates one type, which depends only on the index.
type drawer struct {
	*rand.Rand
	index   int
	names   int
	decls   strings.Builder
	structs []string // declared structs, for embedding
	named   []string // declared types, for reuse
	open    []string // structs being declared, for pointers to them
	keys    []string // comparable declared types
}

func drawWireType(index int) drawn {
	d := &drawer{Rand: rand.New(rand.NewPCG(2026, uint64(index))), index: index}
	for range d.IntN(3) {
		d.declare(2)
	}
	expr := d.expr(3)
	return drawn{index, d.decls.String(), expr}
}

func drawWireTypes(first, count int) []drawn {
	all := make([]drawn, count)
	for i := range all {
		all[i] = drawWireType(first + i)
	}
	return all
}

func (d *drawer) oneOf(list ...string) string { return list[d.IntN(len(list))] }

// often returns true in n of 100 cases.
func (d *drawer) often(n int) bool { return d.IntN(100) < n }

func (d *drawer) name(exported bool) string {
	d.names++
	if exported {
		return fmt.Sprintf("T%d%c", d.index, 'a'+rune(d.names-1))
	}
	return fmt.Sprintf("t%d%c", d.index, 'a'+rune(d.names-1))
}

// expr returns a type.
func (d *drawer) expr(depth int) string {
	if depth == 0 || d.often(25) {
		return d.leaf()
	}
	switch d.IntN(12) {
	case 0:
		return "*" + d.expr(depth-1)
	case 1, 2:
		return "[]" + d.expr(depth-1)
	case 3:
		return fmt.Sprintf("[%d]%s", d.IntN(3), d.expr(depth-1))
	case 4, 5:
		return "map[" + d.key() + "]" + d.expr(depth-1)
	case 6:
		return d.structure(depth-1, false)
	default:
		if d.names > 20 {
			return d.leaf()
		}
		return d.declare(depth - 1)
	}
}

func (d *drawer) leaf() string {
	switch {
	case len(d.open) > 0 && d.often(10):
		return d.oneOf("*", "[]", "map[string]", "map[string]*") + d.oneOf(d.open...)
	case len(d.named) > 0 && d.often(25):
		return d.oneOf(d.named...)
	case d.often(12):
		return d.oneOf("time.Time", "time.Duration", "netip.Addr", "json.RawMessage", "json.Number", "big.Int", "*big.Int",
			"*big.Rat",
			"sql.NullString", "sql.Null[int]", "time.Month", "*time.Time", "any", "any")
	case d.often(2):
		return d.oneOf("chan int", "func()", "complex64", "error", "url.URL", "json.Marshaler", "big.Float")
	}
	return d.basic()
}

func (d *drawer) basic() string {
	return d.oneOf("bool", "int", "int8", "int64", "uint", "uint8", "uint64", "float32", "float64", "string", "string",
		"rune", "uintptr", "[]byte")
}

// key returns the key type of a map.
func (d *drawer) key() string {
	switch {
	case len(d.keys) > 0 && d.often(40):
		return d.oneOf(d.keys...)
	case d.often(15) && d.names < 20:
		return d.encoding(d.oneOf("int", "string", "struct{ X int; y string }"))
	case d.often(10):
		return d.oneOf("netip.Addr", "time.Month", "bool", "float64", "[2]int", "any")
	}
	return d.oneOf("string", "string", "int", "int8", "uint64")
}

// declare declares a type and returns it, or an instance if it is generic.
func (d *drawer) declare(depth int) string {
	switch d.IntN(10) {
	case 0:
		return d.add(d.name(d.often(80)), " "+d.basic())
	case 1:
		return d.add(d.name(true), " = "+d.expr(depth))
	case 2:
		return d.add(d.name(true), " []"+d.expr(depth))
	case 3, 4:
		return d.encoding(d.oneOf("int", "string", "struct{ X int; y string }", "map[string]int", "[]int",
			"struct{ X int; y string }"))
	case 5:
		name, arg := d.name(true), d.expr(depth)
		d.add(name+"[P any]", " "+d.oneOf("struct { V P; L []P; S string }", "[]P", "map[string]P",
			"struct { V *P `json:\"v,omitempty\"` }"))
		d.named = d.named[:len(d.named)-1]
		return name + "[" + arg + "]"
	}
	name := d.name(d.often(75))
	d.open = append(d.open, name)
	body := d.structure(depth, true)
	d.open = d.open[:len(d.open)-1]
	d.structs = append(d.structs, name)
	return d.add(name, " "+body)
}

func (d *drawer) add(name, what string) string {
	d.decls.WriteString("type " + name + what + "\n")
	d.named = append(d.named, name)
	return name
}

// structure returns a struct type.
func (d *drawer) structure(depth int, named bool) string {
	var fields []string
	used := map[string]bool{}
	if named && d.often(50) {
		for range 1 + d.IntN(2) {
			if f, name := d.embedded(depth); f != "" && !used[name] &&
				(len(d.open) == 0 || name != d.open[len(d.open)-1] || strings.HasPrefix(f, "*")) {
				used[name] = true
				fields = append(fields, f)
			}
		}
	}
	for range d.IntN(4) {
		name := d.oneOf("A", "B", "C", "D", "E", "F", "Ä")
		if d.often(6) {
			name = d.oneOf("x", "y", "_")
		}
		if used[name] {
			continue
		}
		used[name] = true
		fields = append(fields, name+" "+d.expr(max(depth, 0))+d.tag(name))
	}
	return "struct { " + strings.Join(fields, "; ") + " }"
}

// embedded returns an embedded field and its name.
func (d *drawer) embedded(depth int) (field, name string) {
	switch {
	case d.often(12):
		name = d.oneOf("Time", "Int")
		return map[string]string{"Time": "time.Time", "Int": "*big.Int"}[name] + d.tag("E"), name
	case d.often(15) && len(d.named) > 0:
		name = d.oneOf(d.named...)
	case len(d.structs) > 0 && d.often(50):
		name = d.oneOf(d.structs...)
	case d.names < 20 && d.often(30):
		name = d.encoding(d.oneOf("int", "struct{ X int; y string }"))
	case d.names < 20:
		before := d.open
		d.open = nil
		name = d.name(d.often(60))
		d.add(name, " "+d.structure(depth-1, depth > 0))
		d.structs = append(d.structs, name)
		d.open = before
	}
	if name == "" || strings.Contains(d.decls.String(), "type "+name+" = ") { // the type of an alias is unknown
		return "", ""
	}
	star := ""
	if d.often(30) && slices.Contains(d.structs, name) {
		star = "*"
	}
	tag := ""
	if d.often(15) {
		tag = d.tag("E")
	}
	return star + name + tag, name
}

// tag returns the tag of a field.
func (d *drawer) tag(name string) string {
	if name == "x" || name == "y" {
		return d.oneOf("", " `json:\"-\"`", " `json:\"-\"`")
	}
	if d.often(50) {
		return ""
	}
	given := d.oneOf("", "", "", "a", "b", "c", "B", "-,", "x-y", "a.b", "ä", "日本", "_")
	if d.often(3) {
		given = d.oneOf("'q'", "-", "€")
	}
	options := d.oneOf("", "", ",omitempty", ",omitzero", ",omitempty,omitzero", ",string", ",string,omitempty")
	if d.often(2) {
		options = d.oneOf(",inline", ",unknown", ",format:unix")
	}
	if strings.HasSuffix(given, ",") {
		options = strings.TrimPrefix(options, ",")
	}
	return " `json:\"" + given + options + "\"`"
}

// encoding declares a type with some marshal methods, which are correct.
func (d *drawer) encoding(under string) string {
	name := d.name(d.often(80))
	d.add(name, " "+under)
	if !strings.HasPrefix(under, "map") && !strings.HasPrefix(under, "[]") {
		d.keys = append(d.keys, name)
	}
	if under == "struct{ X int; y string }" {
		d.structs = append(d.structs, name)
	}
	pairs := []string{"JSON", "Text"}
	if !d.often(30) {
		pairs = pairs[d.IntN(2):][:1]
	}
	for _, pair := range pairs {
		if !d.often(7) {
			d.method(name, under, "Marshal"+pair)
		}
		if !d.often(7) {
			d.method(name, under, "Unmarshal"+pair)
		}
	}
	return name
}

func (d *drawer) method(name, under, method string) {
	isStruct := strings.HasPrefix(under, "struct")
	star := ""
	if strings.HasPrefix(method, "Un") && !d.often(7) || d.often(30) {
		star = "*"
	}
	value, pointer := under+"("+map[string]string{"": "x", "*": "*x"}[star]+")", "(*"+under+")(&x)"
	if star == "*" {
		pointer = "(*" + under + ")(x)"
	}
	if isStruct {
		value, pointer = "[]any{x.X, x.y}", "&[]any{&x.X, &x.y}"
	}
	head := fmt.Sprintf("func (x %s%s) %s", star, name, method)
	if strings.HasPrefix(method, "Un") {
		fmt.Fprintf(&d.decls, "%s(b []byte) error { return json.Unmarshal(b, %s) }\n", head, pointer)
		return
	}
	fmt.Fprintf(&d.decls, "%s() ([]byte, error) { return json.Marshal(%s) }\n", head, value)
}
