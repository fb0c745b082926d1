// Package buildtag determines the systems that compile a Go file.
//
// [Of] returns the build constraint of a file as a [constraint.Expr]. A nil constraint is always satisfied. [Implies]
// compares constraints. A [System] is a platform with build tags: [Current] returns that of the go command, and
// [System.Nearest] the most similar one that satisfies a constraint.
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

// Of returns the build constraint of a file, or nil. It combines the file's name, its //go:build line, and cgo if the
// file imports "C".
func Of(name string, src []byte, importsC bool) constraint.Expr {
	parts := append(nameConstraint(filepath.Base(name)), conjuncts(lineConstraint(src))...)
	if importsC {
		parts = append(parts, &constraint.TagExpr{Tag: "cgo"})
	}
	return allOf(parts)
}

// nameConstraint returns the constraints of _GOOS, _GOARCH or both at the end of a file's name.
func nameConstraint(name string) []constraint.Expr {
	name, _, _ = strings.Cut(name, ".")
	words := strings.Split(name, "_")[1:] // the part before the first _ never counts
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

// isGOOS and isGOARCH report whether the go command treats a word in a file's name as an operating system or an
// architecture. Its lists are not exported, so they test whether a file with such a name is compiled. Before an
// architecture only operating systems count.
func isGOOS(word string) bool { return !compiles("p_" + word + "_amd64.go") }
func isGOARCH(word string) bool {
	return word == "amd64" || !compiles("p_"+word+".go") && !isGOOS(word)
}

// compiles reports whether the go command compiles a file with that name for amd64 and an unknown operating system.
func compiles(name string) bool {
	ctx := build.Context{GOARCH: "amd64", Compiler: "gc", OpenFile: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package p\n")), nil
	}}
	match, err := ctx.MatchFile("", name)
	return match && err == nil
}

// lineConstraint returns the constraint of a file's //go:build line or // +build lines, or nil.
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
			case group != tree.Doc: // a blank line must follow
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

// allOf joins different expressions with &&. It returns nil if there are none.
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

// Either joins constraints with ||, regardless of their order. It returns nil if every system satisfies one of them.
func Either(parts []constraint.Expr) (x constraint.Expr) {
	if slices.Contains(parts, nil) {
		return nil
	}
	slices.SortFunc(parts, func(a, b constraint.Expr) int { return strings.Compare(a.String(), b.String()) })
	equal := func(a, b constraint.Expr) bool { return a.String() == b.String() }
	for _, part := range slices.CompactFunc(parts, equal) {
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

// Ignored reports whether a constraint has the tag ignore, which excludes a file from every build.
func Ignored(x constraint.Expr) bool { return slices.Contains(tagsOf(x), "ignore") }

// String returns a constraint as in a //go:build line, or "" for nil.
func String(x constraint.Expr) string {
	if x == nil {
		return ""
	}
	return x.String()
}

// tagsOf returns the tags that expressions mention, sorted.
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
