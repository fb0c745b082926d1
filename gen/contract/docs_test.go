package contract_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/contract"
)

var update = flag.Bool("update", false, "rewrite the table of rules in docs/breaking.md")

func TestDocumentationIsCurrent(t *testing.T) {
	const file, begin = "../../docs/breaking.md", "<!-- made from gen/contract/rules.go -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, table, ok := strings.Cut(strings.ReplaceAll(string(page), "\r\n", "\n"), begin)
	table, after, closed := strings.Cut(table, "\n\n")
	if !ok || !closed {
		t.Fatalf("%s has no table after %q", file, begin)
	}
	want := strings.TrimSuffix(contract.RulesMarkdown(), "\n")
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+"\n\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		table = want
	}
	if d := cmp.Diff(table, want); d != "" {
		t.Errorf("%s is out of date; go test ./gen/contract -update rewrites it:\n%s", file, d)
	}
}

func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range contract.Rules() {
		if seen[r.ID] || r.ID != strings.ToUpper(r.ID) || !strings.HasSuffix(r.Why, ".") || strings.HasSuffix(r.Means, ".") {
			t.Errorf("%+v", r)
		}
		if r.Breaks != contract.Callers && r.Breaks != contract.Tasks && r.Breaks != contract.Source {
			t.Errorf("%s breaks %q", r.ID, r.Breaks)
		}
		if got, ok := contract.LookupRule(r.ID); !ok || got != r {
			t.Errorf("LookupRule(%s): %v, %v", r.ID, got, ok)
		}
		seen[r.ID] = true
	}
	if r, ok := contract.LookupRule("XYZZY"); ok {
		t.Error(r)
	}
}
