package testkit

import (
	"os"
	"strings"
	"testing"
)

// Section checks the part of a document from the line begin to the line end, which a test generates. With update it
// writes the part.
func Section(t *testing.T, file, begin, end, want string, update bool) {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin+"\n")
	old, after, closed := strings.Cut(rest, end+"\n")
	switch {
	case !ok || !closed:
		t.Fatalf("%s has no place for it, which would be between %s and %s", file, begin, end)
	case old == want:
	case update:
		if err := os.WriteFile(file, []byte(before+begin+"\n"+want+end+"\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is stale; run the test with -update to fix it:\n%s", file, want)
	}
}
