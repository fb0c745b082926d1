// Package directive parses afgen's comments: //af:rpc, //af:method, //af:skip, //af:worker, //af:schedule and
// //af:allow.
//
// One table defines the directives. It has a [Spec] for each directive and in it a [Key] for each key, with kind,
// default, limits and documentation. [Scan] and the typed results parse by the table, and [Help] and [Markdown] print
// it. To add a key, add a row, and a field of RPC, Method, Worker or Schedule if the generator uses it.
//
// A directive is its name followed by arguments, separated by spaces:
//
//	//af:worker name=resize timeout="30s" backoff=`1s` // a comment
//	//af:method idempotent name=Get
//
// An argument is key=value or a flag, which is a single word. Values are words or quoted Go strings. A space and //
// begin a comment, which ends the directive. Only //af:allow has words instead, a rule and then a text.
//
// Parsing takes two steps. [Scan] takes one comment. It decides whether that is a directive, and checks its name and
// the keys of its arguments. Then [Directive.RPC], [Directive.Method], [Directive.Worker] and [Directive.Schedule]
// check the values and add defaults. Both steps report all problems, at their columns.
//
// Scan also reports comments that are probably meant as directives, such as //af:rcp, //AF:rpc or // af:rpc. Without a
// report, the user would only notice that the client is missing. Since comments may mention directives, a comment with
// a space counts only if nothing but arguments follows. [MayContain] quickly rules out most files.
package directive

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/afgen/afgen/gen/diag"
)

// A Directive is one //af: comment.
type Directive struct {
	// Name is the name of a Spec: rpc, method, ….
	Name string
	// Pos is the start of its comment. Width is the number of bytes up to the end of its name.
	Pos   diag.Pos
	Width int
	// Args are its valid arguments in source order. Each key is one of the directive's and occurs once.
	Args []Arg
}

// An Arg is one argument of a directive.
type Arg struct {
	Key string
	// Value is the unquoted value, which is not yet checked. For a flag without a value it is "true".
	Value string
	// Pos and Width are the position of the key.
	Pos   diag.Pos
	Width int
	// ValuePos and ValueWidth are the position of the value including quotes. For a flag without a value they are that of
	// the key.
	ValuePos   diag.Pos
	ValueWidth int
}

// Arg returns the argument with that key and reports whether there is one.
func (d *Directive) Arg(key string) (Arg, bool) {
	for _, a := range d.Args {
		if a.Key == key {
			return a, true
		}
	}
	return Arg{}, false
}

// String returns the directive as source text. [Scan] parses it back.
func (d *Directive) String() string {
	var b strings.Builder
	b.WriteString("//af:" + d.Name)
	spec, _ := Lookup(d.Name)
	for _, a := range d.Args {
		if spec.Words != "" {
			b.WriteString(" " + a.Value)
			continue
		}
		b.WriteString(" " + a.Key)
		if k, _ := spec.Key(a.Key); k.Kind == Flag && a.Value == "true" {
			continue
		}
		b.WriteString("=" + spell(a.Value))
	}
	return b.String()
}

// spell returns a value as source text, quoted only if necessary.
func spell(value string) string {
	bare := value != "" && utf8.ValidString(value)
	for _, r := range value {
		if r == ' ' || r == '"' || r == '`' || r == '\'' || !unicode.IsPrint(r) {
			bare = false
		}
	}
	if bare {
		return value
	}
	return strconv.Quote(value)
}
