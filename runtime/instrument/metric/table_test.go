package metric

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

const document = "../../../docs/metrics.md"

// The document has every metric of the table.
func TestDocumentHasTheTable(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- begin table -->\n", "<!-- end table -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no %q and %q", document, begin, end)
	}
	want := before + begin + markdown() + end + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not current: go test ./runtime/instrument/metric -update", document)
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// markdown returns the table of docs/metrics.md.
func markdown() string {
	var b strings.Builder
	b.WriteString("| metric | kind | unit | attributes | in Prometheus | value |\n|---|---|---|---|---|---|\n")
	for _, m := range table {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | `%s` | %s |\n", m.Name, m.Kind, m.Unit, quoted(m.Attributes),
			m.Prometheus(), m.Description)
	}
	b.WriteString("\nBuckets of the histograms:\n\n| metrics | upper bounds |\n|---|---|\n")
	var done []string
	for _, m := range table {
		bounds := strings.Trim(fmt.Sprint(m.Buckets), "[]")
		if m.Kind != Histogram || slices.Contains(done, bounds) {
			continue
		}
		done = append(done, bounds)
		var names []string
		for _, other := range table {
			if slices.Equal(other.Buckets, m.Buckets) {
				names = append(names, other.Name)
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", quoted(names), bounds)
	}
	return b.String() + "\n"
}

func quoted(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

// Names, units and attributes are those of OpenTelemetry, and fit Prometheus.
func TestTableIsWellFormed(t *testing.T) {
	name, unit := regexp.MustCompile(`^(rpc|messaging|af)(\.[a-z]+)+$`), regexp.MustCompile(`^(s|\{[a-z]+\})$`)
	allowed := []string{"queue", "job", "status", "outcome", "result", "code", "condition", "mode",
		"reason", "messaging.system", "messaging.operation.name", "messaging.destination.name", "rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"}
	seen := map[string]bool{}
	for i, m := range table {
		if !name.MatchString(m.Name) || seen[m.Name] || !unit.MatchString(m.Unit) || m.Description == "" ||
			strings.HasSuffix(m.Description, ".") {
			t.Errorf("row %d: %+v", i, m)
		}
		seen[m.Name] = true
		if (m.Kind == Histogram) != (len(m.Buckets) > 0) || !slices.IsSorted(m.Buckets) || len(m.Attributes) > most {
			t.Errorf("%s has buckets %v and attributes %v", m.Name, m.Buckets, m.Attributes)
		}
		if (m.Kind == Gauge) != (i >= firstGauge) {
			t.Errorf("%s, a %s, is row %d", m.Name, m.Kind, i)
		}
		for _, a := range m.Attributes {
			if !slices.Contains(allowed, a) {
				t.Errorf("%s has the attribute %s", m.Name, a)
			}
		}
	}
}
