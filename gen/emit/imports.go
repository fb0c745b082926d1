package emit

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/dave/jennifer/jen"
)

// nameImports sets the import names that allocate has chosen. (Jennifer doesn't know the names that other files of the
// package declare.) The file imports the packages that its code mentions.
func (a *plan) nameImports(file *jen.File) {
	for path, name := range a.imports {
		if path == runtimePath || name != a.clauses[path] {
			file.ImportAlias(path, name)
		} else {
			file.ImportName(path, name)
		}
	}
}

// groupImports splits the import declaration of an unformatted source into two groups, the standard library's first.
// Jennifer writes a single group, and a single import without parentheses.
func groupImports(source []byte) []byte {
	clause, rest, _ := bytes.Cut(source, []byte("\nimport "))
	specs, body, _ := bytes.Cut(rest, []byte("\n\n"))
	var standard, others bytes.Buffer
	for spec := range bytes.Lines(bytes.Trim(specs, "(\n)")) {
		group := &standard
		_, path, _ := bytes.Cut(spec, []byte(`"`))
		if first, _, _ := bytes.Cut(path, []byte("/")); bytes.Contains(first, []byte(".")) {
			group = &others
		}
		fmt.Fprintf(group, "%s\n", bytes.TrimSpace(spec))
	}
	declaration := fmt.Appendf(nil, "\nimport (\n%s\n%s)\n\n", &standard, &others)
	return slices.Concat(clause, declaration, body)
}
