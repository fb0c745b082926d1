package scrape

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/instrument/metric"
)

var (
	// added are labels that Prometheus and OpenTelemetry add to all series.
	added = []string{"job", "instance", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}
	// optional are labels that only failures have.
	optional = []string{"code", "error_type"}
)

// labelValues are the values of each label of a metric's series.
type labelValues map[string]map[string]bool

// checkTable checks that the metrics of a source are those of the table, but for those that are absent: the kinds, the
// descriptions, the labels and the buckets. So what programs export with and without OpenTelemetry is the same.
func checkTable(t *testing.T, p *server, absent map[string]string) {
	t.Helper()
	var series []map[string]string
	match := url.Values{"match[]": {`{__name__=~"(af|rpc|messaging)_.+"}`}}
	if err := p.get(t.Context(), "series", match, &series); err != nil {
		t.Fatal(err)
	}
	all := map[string]labelValues{}
	for _, s := range series {
		name := s["__name__"]
		if !exported(name) {
			t.Errorf("%s is not in the table", name)
		}
		if all[name] == nil {
			all[name] = labelValues{}
		}
		for label, value := range s {
			if all[name][label] == nil {
				all[name][label] = map[string]bool{}
			}
			all[name][label][value] = true
		}
	}
	var about map[string][]struct{ Type, Help string }
	if err := p.get(t.Context(), "metadata", nil, &about); err != nil {
		t.Fatal(err)
	}
	for _, m := range metric.All() {
		name := m.Prometheus()
		if absent[name] != "" {
			continue
		}
		families := about[name]
		if len(families) == 0 { // in the format OpenMetrics, the name of a counter has no suffix
			families = about[strings.TrimSuffix(name, "_total")]
		}
		if len(families) != 1 || families[0].Type != string(m.Kind) || families[0].Help != m.Description {
			t.Errorf("%s is %q, want a %s: %s", name, families, m.Kind, m.Description)
		}
		if m.Kind != metric.Histogram {
			checkLabels(t, m, name, all[name])
			continue
		}
		checkLabels(t, m, name+"_count", all[name+"_count"])
		checkLabels(t, m, name+"_sum", all[name+"_sum"])
		buckets := all[name+"_bucket"]
		checkBuckets(t, m, buckets["le"])
		delete(buckets, "le")
		checkLabels(t, m, name+"_bucket", buckets)
	}
}

// checkLabels checks the labels of series against the attributes of their metric.
func checkLabels(t *testing.T, m metric.Metric, name string, labels labelValues) {
	t.Helper()
	allowed := append([]string{"__name__"}, added...)
	for _, a := range m.Attributes {
		label := strings.ReplaceAll(a, ".", "_")
		allowed = append(allowed, label)
		if labels[label] == nil && !slices.Contains(optional, label) {
			t.Errorf("%s has no label %s", name, label)
		}
	}
	for label := range labels {
		if !slices.Contains(allowed, label) {
			t.Errorf("%s has the label %s", name, label)
		}
	}
}

// checkBuckets checks the bounds of a histogram. OpenMetrics writes 1.0 for 1.
func checkBuckets(t *testing.T, m metric.Metric, le map[string]bool) {
	t.Helper()
	var bounds []float64
	for text := range le {
		bound, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if text != "+Inf" {
			bounds = append(bounds, bound)
		}
	}
	slices.Sort(bounds)
	if !slices.Equal(bounds, m.Buckets) || !le["+Inf"] {
		t.Errorf("%s has the buckets %q, want %v", m.Name, slices.Sorted(maps.Keys(le)), m.Buckets)
	}
}
