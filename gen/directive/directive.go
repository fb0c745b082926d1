// Package directive is the grammar of afgen's comments: //af:rpc, //af:method, //af:skip, //af:worker, //af:schedule,
// //af:allow.
//
// One table says what there is: a Spec per directive and in it a Key per key, with kind, default, limits and a line of
// documentation. Everything else is made from it: Scan and the typed results parse by it, Help and Markdown print it,
// and a new key is a new row (and, if the generator is to use it, a field of RPC, Method, Worker or Schedule).
//
// A directive is its name and then its arguments, separated by blanks:
//
//	//af:worker name=resize timeout="30s" backoff=`1s` // a remark
//	//af:method idempotent name=Get
//
// An argument is key=value, the value a bare word or a quoted Go string, or a single word, which is a flag. A blank and
// // begin a remark, which ends the directive. Only //af:allow has words instead, a rule and then a text.
//
// Parsing takes two steps. Scan looks at one comment: whether it has to do with afgen at all, which directive it is,
// which arguments it has, and whether the directive knows them. Then RPC, Method, Worker and Schedule take the values: they check
// them and set defaults for those that are missing. Each step reports what it finds, at the column of what is wrong, and continues
// on with the rest.
//
// Scan also finds what was meant as a directive and is none, such as //af:rcp, //AF:rpc or // af:rpc, because a type
// without a client is a bad way to learn of a slip. A spaced comment is considered one only if nothing but arguments
// follows, since comments may well talk about directives. MayContain tells quickly whether a file has anything that
// Scan would look at.
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
	// Name is that of a Spec: rpc, method, ….
	Name string
	// Pos is where its comment begins, Width how many bytes from there reach to the end of its name.
	Pos   diag.Pos
	Width int
	// Args has its arguments in source order, each with a key that the directive knows and supports, at most once each.
	Args []Arg
}

// An Arg is one argument of a directive.
type Arg struct {
	Key string
	// Value is the value without quotes, not yet checked; "true" for a flag alone.
	Value string
	// Pos and Width are those of the key.
	Pos   diag.Pos
	Width int
	// ValuePos and ValueWidth are those of the value, quotes included; for a flag alone those of the key.
	ValuePos   diag.Pos
	ValueWidth int
}

// Arg returns the argument of that key, and whether it was given.
func (d *Directive) Arg(key string) (Arg, bool) {
	for _, a := range d.Args {
		if a.Key == key {
			return a, true
		}
	}
	return Arg{}, false
}

// String returns the directive as one would write it. Scan reads it back.
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

// spell returns a value as it is written after the =: quoted only if it has to be.
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
