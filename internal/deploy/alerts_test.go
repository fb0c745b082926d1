package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/afgen/afgen/runtime/instrument/metric"
)

const (
	alertsFile = "../../deploy/prometheus/alerts.yaml"
	testsFile  = "../../deploy/prometheus/alerts_test.yaml"
	guide      = "../../docs/alerts.md"
)

// A ruleFile is a file of alerts for Prometheus.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// alerts returns the alerts.
func alerts(t *testing.T) []rule {
	t.Helper()
	var f ruleFile
	d := yaml.NewDecoder(strings.NewReader(string(read(t, alertsFile))))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}
	if len(f.Groups) != 1 || len(f.Groups[0].Rules) < 10 {
		t.Fatalf("%d groups", len(f.Groups))
	}
	return f.Groups[0].Rules
}

// The object for the Prometheus operator has the same alerts.
func TestOperatorHasTheAlerts(t *testing.T) {
	want, err := PrometheusRule(read(t, alertsFile))
	if err != nil {
		t.Fatal(err)
	}
	current(t, "../../deploy/kubernetes/rules.yaml", want)
	var object struct {
		Spec ruleFile
	}
	if err := yaml.Unmarshal(want, &object); err != nil {
		t.Fatal(err)
	}
	all := alerts(t)
	if len(object.Spec.Groups) != 1 || len(object.Spec.Groups[0].Rules) != len(all) {
		t.Fatalf("%d groups", len(object.Spec.Groups))
	}
	for i, r := range object.Spec.Groups[0].Rules {
		if r.Expr != all[i].Expr || r.Annotations["description"] != all[i].Annotations["description"] {
			t.Errorf("%s differs", r.Alert)
		}
	}
	if _, err := PrometheusRule([]byte("rules: []\n")); err == nil {
		t.Error("a file without groups is no error")
	}
}

// Each alert tells what happens and what to do, in a sentence and in a section of the guide.
func TestAlertsTellWhatToDo(t *testing.T) {
	text := string(read(t, guide))
	names := map[string]bool{}
	for _, r := range alerts(t) {
		if !strings.HasPrefix(r.Alert, "Afgen") || names[r.Alert] {
			t.Errorf("the name %s is not unique, or has no prefix", r.Alert)
		}
		names[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || len(r.Labels) != 1 {
			t.Errorf("%s has the labels %v", r.Alert, r.Labels)
		}
		if r.For != "" {
			if d, err := time.ParseDuration(r.For); err != nil || d < time.Minute || d > time.Hour {
				t.Errorf("%s waits %s: %v", r.Alert, r.For, err)
			}
		}
		if s := r.Annotations["summary"]; s == "" || strings.HasSuffix(s, ".") || len(s) > 100 {
			t.Errorf("%s has the summary %q", r.Alert, s)
		}
		if d := r.Annotations["description"]; !strings.HasSuffix(d, ".") {
			t.Errorf("%s has the description %q", r.Alert, d)
		}
		link := "https://github.com/afgen/afgen/blob/main/docs/alerts.md#" + strings.ToLower(r.Alert)
		if r.Annotations["runbook_url"] != link || len(r.Annotations) != 3 {
			t.Errorf("%s has the annotations %v, want a link to %s", r.Alert, r.Annotations, link)
		}
		if !strings.Contains(text, "\n## "+r.Alert+"\n") {
			t.Errorf("%s has no section %s", guide, r.Alert)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^## (Afgen\w*)$`).FindAllStringSubmatch(text, -1) {
		if !names[m[1]] {
			t.Errorf("%s describes %s, which is no alert", guide, m[1])
		}
	}
}

// Texts have only labels that the expression keeps.
func TestAlertsHaveTheLabelsOfTheirTexts(t *testing.T) {
	used, kept := regexp.MustCompile(`\$labels\.(\w+)`), regexp.MustCompile(`by \(([^)]*)\)`)
	for _, r := range alerts(t) {
		for _, text := range r.Annotations {
			for _, l := range used.FindAllStringSubmatch(text, -1) {
				for _, by := range kept.FindAllStringSubmatch(r.Expr, -1) {
					if !slices.Contains(strings.Split(by[1], ", "), l[1]) {
						t.Errorf("%s tells the label %s, which %s drops", r.Alert, l[1], by[0])
					}
				}
			}
		}
	}
}

// Alerts are on metrics of the table, with labels that these have.
func TestAlertsAreOnMetricsOfTheTable(t *testing.T) {
	labels := map[string][]string{}
	for _, m := range metric.All() {
		var names []string
		for _, a := range m.Attributes {
			names = append(names, label(a))
		}
		name := m.Prometheus()
		if m.Kind != metric.Histogram {
			labels[name] = names
			continue
		}
		labels[name+"_bucket"], labels[name+"_count"], labels[name+"_sum"] = append(names, "le"), names, names
	}
	series := regexp.MustCompile(`\b((?:af|rpc)_\w+)(?:\{([^}]*)\})?`)
	condition := regexp.MustCompile(`(\w+)(?:=|!=|=~|!~)"`)
	for _, r := range alerts(t) {
		found := 0
		for _, m := range series.FindAllStringSubmatch(strings.ReplaceAll(r.Expr, "af_job,", ""), -1) {
			names, ok := labels[m[1]]
			if !ok && m[1] != "rpc_method" && m[1] != "af_job" { // these are labels
				t.Errorf("%s is on %s, which is no metric", r.Alert, m[1])
			}
			if ok {
				found++
			}
			for _, c := range condition.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(names, c[1]) {
					t.Errorf("%s is on %s by %s, a label that it has not", r.Alert, m[1], c[1])
				}
			}
		}
		if found == 0 {
			t.Errorf("%s is on no metric", r.Alert)
		}
	}
}

// promtool has a case for each alert in which it fires, and one in which it does not.
func TestAlertsAreTested(t *testing.T) {
	var tests struct {
		Files    []string `yaml:"rule_files"`
		Interval string   `yaml:"evaluation_interval"`
		Tests    []struct {
			Name     string
			Interval string
			Series   []map[string]string `yaml:"input_series"`
			Alerts   []any               `yaml:"alert_rule_test"`
			Queries  []struct {
				Expr    string
				At      string `yaml:"eval_time"`
				Samples []any  `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	d := yaml.NewDecoder(strings.NewReader(string(read(t, testsFile))))
	d.KnownFields(true)
	if err := d.Decode(&tests); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		name, what, _ := strings.Cut(test.Name, " ")
		samples := 0
		for _, q := range test.Queries {
			if !strings.HasPrefix(q.Expr, `ALERTS{alertname="Afgen`) {
				t.Errorf("%s: the query %s", test.Name, q.Expr)
			}
			samples += len(q.Samples)
		}
		switch {
		case strings.HasPrefix(what, "fires ") && samples > 0:
			fires[name] = true
		case strings.HasPrefix(what, "does not fire ") && samples == 0 && len(test.Queries) > 0:
			silent[name] = true
		default:
			t.Errorf("%s: the case must fire, or not, as its name says", test.Name)
		}
	}
	for _, r := range alerts(t) {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: a case in which it fires: %v, one in which it does not: %v", r.Alert, fires[r.Alert],
				silent[r.Alert])
		}
	}
}
