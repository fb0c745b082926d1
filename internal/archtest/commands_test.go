package archtest

import (
	"regexp"
	"testing"
)

// The targets of make that documents, workflows and comments name exist: here or in the project that afgen init writes.
func TestNamedTargetsOfMakeExist(t *testing.T) {
	target := regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
	known := map[string]bool{}
	for _, file := range []string{"Makefile", "templates/project/Makefile.tmpl"} {
		for _, m := range target.FindAllStringSubmatch(read(t, file), -1) {
			known[m[1]] = true
		}
	}
	named := regexp.MustCompile("(?:`|run: )make ([a-z][a-z0-9-]*)")
	found := 0
	check := func(path, text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if found++; !known[m[1]] {
				t.Errorf("%s: make has no target %s", path, m[1])
			}
		}
	}
	eachFile(t, []string{".md", ".go"}, check)
	for _, workflow := range []string{"ci", "dependencies"} {
		path := ".github/workflows/" + workflow + ".yml"
		check(path, read(t, path))
	}
	if found < 40 {
		t.Errorf("found only %d targets", found)
	}
}
