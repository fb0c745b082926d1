// Package buildtag says which systems compile a Go file: what its build constraint is, whether one constraint implies
// another, and which system, of those that Go supports, satisfies one.
//
// A constraint is a [constraint.Expr]; nil is the one that every system satisfies. A [System] is a platform with its tags.
// [Current] asks the go command for the one of this run, and [System.Nearest] finds the one most like it that compiles a
// file.
package buildtag

import (
	"bytes"
	"go/build"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Of returns the constraint under which the go command compiles a file, as one expression of its name, its
// //go:build line, and cgo if it imports "C"; nil if there is none.
func Of(name string, src []byte, importsC bool) constraint.Expr {
	parts := append(nameConstraint(filepath.Base(name)), conjuncts(lineConstraint(src))...)
	if importsC {
		parts = append(parts, &constraint.TagExpr{Tag: "cgo"})
	}
	return allOf(parts)
}

// nameConstraint returns what _GOOS, _GOARCH or both at the end of a file's name ask for.
func nameConstraint(name string) []constraint.Expr {
	name, _, _ = strings.Cut(name, ".")
	words := strings.Split(name, "_")[1:] // what is before the first _ never counts
	if n := len(words); n > 0 && words[n-1] == "test" {
		words = words[:n-1]
	}
	if n := len(words); n > 1 && isGOOS(words[n-2]) && isGOARCH(words[n-1]) {
		words = words[n-2:]
	} else if n > 0 && (isGOOS(words[n-1]) || isGOARCH(words[n-1])) {
		words = words[n-1:]
	} else {
		return nil
	}
	var parts []constraint.Expr
	for _, word := range words {
		parts = append(parts, &constraint.TagExpr{Tag: word})
	}
	return parts
}

// isGOOS and isGOARCH report what the go command takes a word in a file's name for. Its lists are not exported, so they ask
// whether it would compile a file of such a name: before an architecture only the names of operating systems count.
func isGOOS(word string) bool { return !compiles("p_" + word + "_amd64.go") }
func isGOARCH(word string) bool {
	return word == "amd64" || !compiles("p_"+word+".go") && !isGOOS(word)
}

// compiles reports whether the go command compiles a file of a name for amd64, on a system that has no name.
func compiles(name string) bool {
	ctx := build.Context{GOARCH: "amd64", Compiler: "gc", OpenFile: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package p\n")), nil
	}}
	match, err := ctx.MatchFile("", name)
	return match && err == nil
}

// lineConstraint returns the expression of the //go:build line of a file, or of its // +build lines; nil if it has none.
func lineConstraint(src []byte) constraint.Expr {
	if !bytes.Contains(src, []byte("go:build")) && !bytes.Contains(src, []byte("+build")) {
		return nil
	}
	fset := token.NewFileSet()
	tree, _ := parser.ParseFile(fset, "", src, parser.PackageClauseOnly|parser.ParseComments)
	if tree == nil {
		return nil
	}
	var old []constraint.Expr
	for _, group := range tree.Comments {
		if tree.Package.IsValid() && group.Pos() > tree.Package {
			break
		}
		for _, c := range group.List {
			x, err := constraint.Parse(c.Text)
			switch {
			case err != nil:
			case constraint.IsGoBuild(c.Text):
				return x
			case group != tree.Doc: // only with a blank line after them
				old = append(old, x)
			}
		}
	}
	return allOf(old)
}

// conjuncts splits an expression at its outermost &&.
func conjuncts(x constraint.Expr) []constraint.Expr {
	if and, ok := x.(*constraint.AndExpr); ok {
		return append(conjuncts(and.X), conjuncts(and.Y)...)
	}
	if x == nil {
		return nil
	}
	return []constraint.Expr{x}
}

// allOf joins expressions by &&, none of them twice; nil if there is none.
func allOf(parts []constraint.Expr) (x constraint.Expr) {
	var seen []string
	for _, part := range parts {
		if text := part.String(); slices.Contains(seen, text) {
			continue
		} else {
			seen = append(seen, text)
		}
		if x == nil {
			x = part
		} else {
			x = &constraint.AndExpr{X: x, Y: part}
		}
	}
	return x
}

// Either joins the constraints of the declarations of one thing: the order doesn't matter. It returns nil if the thing is
// declared on every system.
func Either(parts []constraint.Expr) (x constraint.Expr) {
	if slices.Contains(parts, nil) {
		return nil
	}
	slices.SortFunc(parts, func(a, b constraint.Expr) int { return strings.Compare(a.String(), b.String()) })
	for _, part := range slices.CompactFunc(parts, func(a, b constraint.Expr) bool { return a.String() == b.String() }) {
		if x == nil {
			x = part
		} else {
			x = &constraint.OrExpr{X: x, Y: part}
		}
	}
	if Implies(nil, x) {
		return nil
	}
	return x
}

// Ignored reports whether a constraint excludes a file from every build, by the tag that is meant for that.
func Ignored(x constraint.Expr) bool { return slices.Contains(tagsOf(x), "ignore") }

// String returns a constraint as it is written in a //go:build line, or "" for nil.
func String(x constraint.Expr) string {
	if x == nil {
		return ""
	}
	return x.String()
}

// tagsOf lists the tags that expressions mention, sorted.
func tagsOf(all ...constraint.Expr) []string {
	var tags []string
	var visit func(x constraint.Expr)
	visit = func(x constraint.Expr) {
		switch x := x.(type) {
		case *constraint.TagExpr:
			tags = append(tags, x.Tag)
		case *constraint.NotExpr:
			visit(x.X)
		case *constraint.AndExpr:
			visit(x.X)
			visit(x.Y)
		case *constraint.OrExpr:
			visit(x.X)
			visit(x.Y)
		}
	}
	for _, x := range all {
		visit(x)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}
