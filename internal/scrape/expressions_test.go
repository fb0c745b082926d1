package scrape

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/instrument/metric"
)

const root = "../.."

// An expression is a query of a file.
type expression struct {
	where string // the file and the panel or alert
	text  string
	full  bool // it has a result while the system works, unlike an alert
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// panels returns the queries of the dashboard and of its variables, with values for the variables.
func panels(t *testing.T) (out []expression) {
	t.Helper()
	const file = "deploy/grafana/afgen.json"
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, file)), &dashboard); err != nil {
		t.Fatal(err)
	}
	values := strings.NewReplacer("$namespace", ".*", "$job", ".*", "$instance", ".*", "$queue", ".*",
		"$quantile", "0.95", "$__rate_interval", "30s", "$__range", "1h")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			out = append(out, expression{file + ": " + p.Title, values.Replace(target.Expr), true})
		}
	}
	for _, v := range dashboard.Templating.List {
		if definition, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			series := definition[:strings.LastIndex(definition, ",")]
			out = append(out, expression{file + ": variable " + v.Name, values.Replace(series), true})
		}
	}
	if len(out) < 30 {
		t.Fatalf("%s has %d queries", file, len(out))
	}
	return out
}

// scalers returns the query of KEDA, for a queue of the running system.
func scalers(t *testing.T) []expression {
	t.Helper()
	const file = "deploy/keda/scaledobject.yaml"
	m := regexp.MustCompile(`(?s)query: >-\n(.*?)\n +threshold:`).FindStringSubmatch(read(t, file))
	if m == nil {
		t.Fatalf("%s has no query", file)
	}
	here := strings.NewReplacer(`"convert"`, `"`+resize.Name+`"`, `namespace="shop", `, "", `namespace="shop"`, "")
	return []expression{{file, here.Replace(m[1]), true}}
}

// documented returns the queries of docs/metrics.md. Those that compare have no result while all is well.
func documented(t *testing.T) (out []expression) {
	t.Helper()
	const file = "docs/metrics.md"
	_, text, _ := strings.Cut(read(t, file), "\n## What to watch\n")
	for _, m := range regexp.MustCompile("(?m)^\\| [^|`]+\\| `(.*)` \\|$").FindAllStringSubmatch(text, -1) {
		out = append(out, expression{file, m[1], false})
	}
	if len(out) < 5 {
		t.Fatalf("%s has %d queries", file, len(out))
	}
	return out
}

var (
	// name matches a metric of afgen, with its conditions if there are any. Values of labels contain no braces.
	name = regexp.MustCompile(`\b(af|rpc|messaging)_[a-zA-Z0-9_]+(\s*\{[^{}]*\})?`)
	// group matches the labels that an expression keeps or joins by, which are no metrics.
	group = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
)

// selectors returns the selectors of an expression, which name a metric with conditions, and the names that are no
// metrics of the table.
func selectors(text string) (found, unknown []string) {
	for _, m := range name.FindAllString(group.ReplaceAllString(text, ""), -1) {
		metric, _, _ := strings.Cut(m, "{")
		if !exported(strings.TrimSpace(metric)) {
			unknown = append(unknown, m)
		} else if !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	return found, unknown
}

// exported reports whether a metric of the table has series of this name in Prometheus.
func exported(series string) bool {
	return slices.ContainsFunc(metric.All(), func(m metric.Metric) bool {
		name := m.Prometheus()
		if m.Kind == metric.Histogram {
			return series == name+"_bucket" || series == name+"_count" || series == name+"_sum"
		}
		return series == name
	})
}

// Selectors are found in each part of an expression, and labels are no metrics.
func TestSelectorsAreFound(t *testing.T) {
	for _, test := range []struct {
		text           string
		found, unknown []string
	}{
		{`max by (queue) (af_queue_oldest_seconds{queue=~".*"}) > 300 unless on (af_job) (af_queue_paused == 1)`,
			[]string{`af_queue_oldest_seconds{queue=~".*"}`, `af_queue_paused`}, nil},
		{`histogram_quantile(0.9, sum by (af_job, le) (rate(af_job_lag_seconds_bucket[5m])))`,
			[]string{`af_job_lag_seconds_bucket`}, nil},
		{`sum(rate(rpc_server_call_duration_seconds_count{rpc_system_name="afgen", error_type!=""}[5m]))`,
			[]string{`rpc_server_call_duration_seconds_count{rpc_system_name="afgen", error_type!=""}`}, nil},
		{`af_task_run_seconds + af_task_done_total{queue="x"} + af_job_fires_total offset 5m`,
			[]string{`af_job_fires_total`}, []string{`af_task_run_seconds`, `af_task_done_total{queue="x"}`}},
		{`up == 0`, nil, nil},
	} {
		found, unknown := selectors(test.text)
		if !slices.Equal(found, test.found) || !slices.Equal(unknown, test.unknown) {
			t.Errorf("%s: %q, unknown %q", test.text, found, unknown)
		}
	}
}
