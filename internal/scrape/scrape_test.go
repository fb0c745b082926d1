package scrape

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// configure writes a configuration that scrapes targets and has the alerts of deploy, and returns its path.
func configure(t *testing.T, targets ...string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("alerts.yaml", read(t, "deploy/prometheus/alerts.yaml"))
	return write("prometheus.yaml", `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: example
    static_configs:
      - targets: ["`+strings.Join(targets, `", "`)+`"]
`)
}

// ruleGroups are the answer of Prometheus about its rules.
type ruleGroups struct {
	Groups []struct {
		Rules []struct{ Name, Query, Health, LastError string }
	}
}

// A source is a running system that Prometheus scrapes.
type source struct {
	name   string
	start  func(t *testing.T) (targets []string) // the system runs until the test ends
	absent map[string]string                     // metrics that it does not have, and why
}

// Names and labels are the same with and without OpenTelemetry, so each query fits both.
var sources = []source{
	{name: "metrics", start: startSystem},
	{name: "otel", start: startGallery, absent: map[string]string{
		"af_task_abandoned_total": "the handlers of an example return when their contexts end",
	}},
}

// Every query of the dashboard, the alerts, the scaler and docs/metrics.md is valid for Prometheus, and is about series
// that a running system exports: each of its selectors has at least one. Panels have results.
func TestQueriesFindTheSeriesOfARunningSystem(t *testing.T) {
	tool(t, "prometheus")
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p := startPrometheus(t, configure(t, s.start(t)...))
			for _, e := range append(slices.Concat(panels(t), scalers(t), documented(t)), alerts(t, p)...) {
				s.check(t, p, e)
			}
			alert(t, p, "AfgenInstancesExpired", "Instances that died: ") // Prometheus extrapolates their number
			alert(t, p, "AfgenJobSkipped", "Job tidy skipped due times: missed")
			checkTable(t, p, s.absent)
			for name, why := range s.absent {
				if n, err := p.query(t.Context(), name); n > 0 || err != nil {
					t.Errorf("%s has %d series, although %s: %v", name, n, why, err)
				}
			}
		})
	}
}

// alerts returns the queries of the alerts when Prometheus has evaluated them all.
func alerts(t *testing.T, p *server) (out []expression) {
	t.Helper()
	var rules ruleGroups
	within(t, "Prometheus has evaluated the alerts", func() bool {
		if err := p.get(t.Context(), "rules", nil, &rules); err != nil {
			t.Fatal(err)
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return false
				}
			}
		}
		return len(rules.Groups) == 1
	})
	for _, r := range rules.Groups[0].Rules {
		if r.Health != "ok" {
			t.Errorf("alert %s: %s %s", r.Name, r.Health, r.LastError)
		}
		out = append(out, expression{"alert " + r.Name, r.Query, false})
	}
	if len(out) < 10 {
		t.Errorf("%d alerts", len(out))
	}
	return out
}

// check checks that an expression is valid, and waits until its selectors have series, and it has a result if it must.
func (s *source) check(t *testing.T, p *server, e expression) {
	t.Helper()
	found, unknown := selectors(e.text)
	if len(unknown) > 0 || len(found) == 0 {
		t.Errorf("%s: no metric of the table: %q in %s", e.where, unknown, e.text)
	}
	if _, err := p.query(t.Context(), e.text); err != nil { // also of those that have no result now
		t.Errorf("%s: %v: %s", e.where, err, e.text)
		return
	}
	present := slices.DeleteFunc(slices.Clone(found), func(selector string) bool {
		metric, _, _ := strings.Cut(selector, "{")
		return s.absent[metric] != ""
	})
	if e.full && len(present) == len(found) {
		present = append(present, e.text)
	}
	for _, query := range present {
		within(t, e.where+" finds series: "+query, func() bool {
			n, err := p.query(t.Context(), query)
			return err == nil && n > 0
		})
	}
}

// alert waits until an alert fires. Its summary must contain the wanted text.
func alert(t *testing.T, p *server, name, summary string) {
	t.Helper()
	within(t, name+" fires", func() bool {
		var answer struct {
			Alerts []struct {
				State               string
				Labels, Annotations map[string]string
			}
		}
		if err := p.get(t.Context(), "alerts", url.Values{}, &answer); err != nil {
			t.Fatal(err)
		}
		for _, a := range answer.Alerts {
			if a.Labels["alertname"] != name || a.State != "firing" {
				continue
			}
			if got := a.Annotations["summary"]; !strings.Contains(got, summary) {
				t.Fatalf("%s: %q, want %q", name, got, summary)
			}
			return true
		}
		return false
	})
}
