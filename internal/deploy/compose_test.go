package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const compose = dir + "/compose/"

// The types below have the keys that the files use; others are refused.

type composeFile struct {
	Name        string
	Program     service           `yaml:"x-program"`
	Environment map[string]string `yaml:"x-environment"`
	Services    map[string]service
	Volumes     map[string]any
}

type service struct {
	Image       string
	Build       struct{ Context, Dockerfile string }
	Command     []string
	Entrypoint  []string
	Scale       int
	Grace       string `yaml:"stop_grace_period"`
	Restart     string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	Security    []string `yaml:"security_opt"`
	DependsOn   any      `yaml:"depends_on"`
	Ports       []string
	Volumes     []string
	Environment map[string]string
	Healthcheck struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
}

type collectorFile struct {
	Receivers map[string]struct {
		Protocols map[string]struct{ Endpoint string }
	}
	Processors map[string]map[string]any
	Exporters  map[string]struct {
		Endpoint         string
		TLS              map[string]bool
		OpenMetrics      bool   `yaml:"enable_open_metrics"`
		MetricExpiration string `yaml:"metric_expiration"`
	}
	Service struct {
		Pipelines map[string]struct{ Receivers, Processors, Exporters []string }
	}
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	decode(t, compose+"compose.yaml", &c)
	if len(c.Services) < 10 {
		t.Fatalf("%d services", len(c.Services))
	}
	return c
}

// Docker waits longer than the drain before it kills. The programs have all variables of their configuration, and the
// others are OpenTelemetry's.
func TestComposeRunsThePrograms(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{"web", "work"} {
		s := c.Services[name]
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace <= drainTime(t) {
			t.Errorf("%s has the grace period %s, the drain takes %v: %v", name, s.Grace, drainTime(t), err)
		}
		variables := map[string]string{}
		for variable, value := range s.Environment {
			if !strings.HasPrefix(variable, "OTEL_") {
				variables[variable] = value
			}
		}
		if s.Environment["OTEL_SERVICE_NAME"] == "" || s.Image != c.Program.Image {
			t.Errorf("%s is %+v", name, s)
		}
		checkConfig(t, compose+"config.yaml", variables)
	}
	program := string(read(t, root+"/otel/examples/main.go"))
	for _, name := range []string{"web", "work"} {
		for _, argument := range c.Services[name].Command {
			option, isOption := strings.CutPrefix(argument, "-")
			option, _, _ = strings.Cut(option, "=")
			if isOption && !strings.Contains(program, `("`+option+`", `) {
				t.Errorf("%s has the option %s, which the program has not", name, argument)
			}
		}
	}
	file := c.Services["web"].Build
	if _, err := os.Stat(filepath.Join(compose, file.Context, file.Dockerfile)); err != nil {
		t.Error(err)
	}
}

// Ports are published on this machine only. Files that are mounted exist, and services that others need.
func TestComposeFitsTogether(t *testing.T) {
	c := readCompose(t)
	for name, s := range c.Services {
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(compose + from); err != nil || !strings.HasSuffix(v, ":ro") {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
		}
		var needed []string
		switch d := s.DependsOn.(type) {
		case map[string]any:
			needed = slices.Collect(maps.Keys(d))
		case []any:
			for _, n := range d {
				needed = append(needed, n.(string))
			}
		}
		for _, n := range needed {
			if _, ok := c.Services[n]; !ok {
				t.Errorf("%s needs %s, which is no service", name, n)
			}
		}
	}
}

// Programs send to the collector, Prometheus scrapes it, and Grafana reads Prometheus, by the names of services and the
// ports on which they listen.
func TestComposeConnectsTheTools(t *testing.T) {
	c := readCompose(t)
	var o collectorFile
	decode(t, compose+"collector.yaml", &o)
	if got := c.Environment["OTEL_EXPORTER_OTLP_ENDPOINT"]; got != "http://"+reached("collector",
		o.Receivers["otlp"].Protocols["http"].Endpoint) {
		t.Errorf("programs send to %s", got)
	}
	for name, p := range o.Service.Pipelines {
		for _, r := range p.Receivers {
			if _, ok := o.Receivers[r]; !ok {
				t.Errorf("%s has no receiver %s", name, r)
			}
		}
		for _, x := range p.Processors {
			if _, ok := o.Processors[x]; !ok {
				t.Errorf("%s has no processor %s", name, x)
			}
		}
		for _, e := range p.Exporters {
			if _, ok := o.Exporters[e]; !ok {
				t.Errorf("%s has no exporter %s", name, e)
			}
		}
	}
	if e := o.Exporters["otlp/jaeger"].Endpoint; e != "jaeger:4317" { // the port on which Jaeger receives OTLP
		t.Errorf("traces go to %s", e)
	}

	var p struct {
		Global struct {
			Scrape   string `yaml:"scrape_interval"`
			Evaluate string `yaml:"evaluation_interval"`
		}
		RuleFiles []string `yaml:"rule_files"`
		Scrape    []struct {
			Name   string                       `yaml:"job_name"`
			Honor  bool                         `yaml:"honor_labels"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	decode(t, compose+"prometheus.yaml", &p)
	want := reached("collector", o.Exporters["prometheus"].Endpoint)
	if s := p.Scrape[0]; s.Static[0].Targets[0] != want || !s.Honor {
		t.Errorf("Prometheus scrapes %+v, want %s", s, want)
	}
	mounts := strings.Join(c.Services["prometheus"].Volumes, " ")
	for _, file := range append(p.RuleFiles, "prometheus.yaml") {
		if !strings.Contains(mounts, ":/etc/prometheus/"+file+":") {
			t.Errorf("Prometheus has no %s: %s", file, mounts)
		}
	}

	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, URL string
			IsDefault            bool `yaml:"isDefault"`
			JSONData             struct {
				TimeInterval string              `yaml:"timeInterval"`
				Traces       []map[string]string `yaml:"exemplarTraceIdDestinations"`
			} `yaml:"jsonData"`
		}
	}
	decode(t, compose+"grafana/datasources.yaml", &sources)
	for _, s := range sources.Datasources {
		host := regexp.MustCompile(`^http://(\w+):(\d+)$`).FindStringSubmatch(s.URL)
		if host == nil || !slices.Contains(c.Services[host[1]].Ports, "127.0.0.1:"+host[2]+":"+host[2]) {
			t.Errorf("%s is at %s", s.Name, s.URL)
		}
		if s.Type == "prometheus" && (!s.IsDefault || s.JSONData.TimeInterval != p.Global.Scrape) {
			t.Errorf("%+v, scraped every %s", s, p.Global.Scrape)
		}
	}
	var boards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	decode(t, compose+"grafana/dashboards.yaml", &boards)
	if want := "../grafana/afgen.json:" + boards.Providers[0].Options.Path + "/afgen.json:ro"; !slices.Contains(
		c.Services["grafana"].Volumes, want) {
		t.Errorf("Grafana has %v, want %s", c.Services["grafana"].Volumes, want)
	}
}

// reached returns the address under which other services reach one that listens on all interfaces.
func reached(service, endpoint string) string {
	return strings.Replace(endpoint, "0.0.0.0", service, 1)
}
