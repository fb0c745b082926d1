package scrape

import (
	"net/url"
	"os"
	"path/filepath"
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

// Every query of the dashboard, the alerts, the scaler and docs/metrics.md is valid for Prometheus, and is about series
// that a running system exports: each of its selectors has at least one. Panels have results.
func TestQueriesFindTheSeriesOfARunningSystem(t *testing.T) {
	tool(t, "prometheus")
	system := startSystem(t)
	p := startPrometheus(t, configure(t, strings.TrimPrefix(system.URL, "http://")))

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
	expressions := append(panels(t), append(scalers(t), documented(t)...)...)
	for _, r := range rules.Groups[0].Rules {
		if r.Health != "ok" {
			t.Errorf("alert %s: %s %s", r.Name, r.Health, r.LastError)
		}
		expressions = append(expressions, expression{"alert " + r.Name, r.Query, false})
	}
	if n := len(rules.Groups[0].Rules); n < 10 {
		t.Errorf("%d alerts", n)
	}
	checked := 0
	for _, e := range expressions {
		found, unknown := selectors(e.text)
		if len(unknown) > 0 || len(found) == 0 {
			t.Errorf("%s: no metric of the table: %q in %s", e.where, unknown, e.text)
		}
		if _, err := p.query(t.Context(), e.text); err != nil { // also of those that have no result now
			t.Errorf("%s: %v: %s", e.where, err, e.text)
			continue
		}
		if e.full {
			found = append(found, e.text)
		}
		for _, f := range found {
			checked++
			within(t, e.where+" finds series: "+f, func() bool {
				n, err := p.query(t.Context(), f)
				return err == nil && n > 0
			})
		}
	}
	t.Logf("%d queries, %d selectors", len(expressions), checked)
	alert(t, p, "AfgenInstancesExpired", "Instances that died: 1")
	alert(t, p, "AfgenJobSkipped", "Job tidy skipped due times: missed")
}

// alert waits until an alert fires. Its summary must be as wanted.
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
			if got := a.Annotations["summary"]; got != summary {
				t.Fatalf("%s: %q, want %q", name, got, summary)
			}
			return true
		}
		return false
	})
}
