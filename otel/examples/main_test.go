package main_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

// The front end and a worker are two processes. One trace leads from the client's request to SubtasksDone and to the
// message that it sends, and the collector gets the metrics of both.
func TestOneTraceInCollector(t *testing.T) {
	c, dir := newCollector(t), t.TempDir()
	env := func(service string) []string {
		return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_SERVICE_NAME=" + service,
			"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRIC_EXPORT_INTERVAL=100"}
	}
	worker := start(t, dir, env("work"), "-listen=")
	web := start(t, dir, env("web"), "-listen=127.0.0.1:0", "-work=false")
	publish(t, web, "spring", "00-"+traceID+"-"+spanID+"-01")

	const (
		submitted = "POST /albums/{name}(web server) > submit publish(web producer)"
		processed = submitted + " > process publish(work consumer)"
		called    = processed + " > photos/List(work client)"
		resized   = processed + " > submit resize(work client)"
		sent      = processed + " > send published(work producer)"
	)
	want := []string{"POST /albums/{name}(web server)", submitted,
		processed, processed, // Run and SubtasksDone
		called, called + " > photos/List(work server)",
		resized, resized + " > process resize(work consumer)", resized + " > process resize(work consumer)",
		sent, sent + " > process published(work consumer)",
	}
	slices.Sort(want)
	var got []string
	testkit.Eventually(t, "the trace has all spans", func() bool {
		got = c.tree(decode(t, traceID), decode(t, spanID))
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("the trace is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	publish(t, web, "lost", "")
	testkit.Eventually(t, "a failed attempt, a fire, the end of the task and queues", func() (all bool) {
		c.read(func() {
			failed := slices.IndexFunc(c.spans, func(s span) bool {
				return s.GetName() == "process publish" && s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR &&
					text(s.GetAttributes(), "error.type") == "not_found"
			})
			fired := slices.IndexFunc(c.spans, func(s span) bool { return s.GetName() == "fire tidy" })
			all = failed >= 0 && fired >= 0 && c.metrics["af.job.fires"] != nil && ended(c.metrics["af.task.ended"]) &&
				c.metrics["af.queue.tasks"] != nil // read every 15 s, for the first time maybe before there is a worker
		})
		return all
	})
	web.Stop()
	worker.Stop()
	c.Close() // waits for what it receives
	if len(c.sources["web"]) != 1 || len(c.sources["work"]) != 1 || len(c.sources) != 2 || len(c.refused) > 0 ||
		c.sources["web"][0] == c.sources["work"][0] || c.sources["web"][0] == "" {
		t.Errorf("the processes are %v, refused %v", c.sources, c.refused)
	}
	c.checkMetrics(t)
}

func decode(t *testing.T, id string) []byte {
	t.Helper()
	b, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ended reports whether a task has failed by af.task.ended.
func ended(m *metrics.Metric) bool {
	return slices.ContainsFunc(m.GetSum().GetDataPoints(), func(p *metrics.NumberDataPoint) bool {
		return text(p.GetAttributes(), "status") == "failed"
	})
}

// checkMetrics checks the metrics that the collector has got against the table, and that none has an id.
func (c *collector) checkMetrics(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"rpc.client.call.duration", "rpc.server.call.duration", "af.task.submitted", "af.task.wait", "af.task.run",
		"af.task.total", "af.task.attempts", "af.task.ended", "af.claim.duration", "af.settle.duration", "af.job.fires",
		"af.queue.tasks", "af.queue.oldest", "af.worker.slots", "af.instances", "af.backend.up",
		"messaging.client.operation.duration", "messaging.process.duration", "af.message.attempts",
	} {
		if c.metrics[name] == nil {
			t.Errorf("the collector has no %s", name)
		}
	}
	table := map[string]metric.Metric{}
	for _, m := range metric.All() {
		table[m.Name] = m
	}
	for name, m := range c.metrics {
		if want, ok := table[name]; !ok || m.GetUnit() != want.Unit || m.GetDescription() != want.Description {
			t.Errorf("%s, unit %q, description %q is not in the table", name, m.GetUnit(), m.GetDescription())
		}
		for _, attributes := range points(m) {
			for _, a := range attributes {
				if !slices.Contains(table[name].Attributes, a.GetKey()) || unbounded.MatchString(a.GetValue().GetStringValue()) {
					t.Errorf("%s has the attribute %v", name, a)
				}
			}
		}
	}
}

// unbounded matches ids of tasks and instances, and addresses.
var unbounded = regexp.MustCompile(`[0-9A-Z]{16}|:\d|\.\d+\.`)

// points returns the attributes of each point.
func points(m *metrics.Metric) (all [][]*common.KeyValue) {
	for _, p := range slices.Concat(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()) {
		all = append(all, p.GetAttributes())
	}
	for _, p := range m.GetHistogram().GetDataPoints() {
		all = append(all, p.GetAttributes())
	}
	return all
}

// What the environment switches on, and what is said about it.
func TestEnvironment(t *testing.T) {
	nowhere := unused(t)
	for _, tt := range []struct {
		name           string
		env            []string
		want, unwanted []string // in the output; not in it
		warnings       int
	}{
		{name: "nothing", unwanted: []string{"TraceID"}},
		{name: "none", env: []string{"OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none",
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + nowhere}, unwanted: []string{"TraceID"}},
		{name: "console", env: []string{"OTEL_TRACES_EXPORTER=console"},
			want: []string{`"Name":"process publish"`, `"Name":"submit resize"`}},
		{name: "sampled_never", env: []string{"OTEL_TRACES_EXPORTER=console", "OTEL_TRACES_SAMPLER=always_off"},
			unwanted: []string{"TraceID"}},
		{name: "disabled", env: []string{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=console"},
			unwanted: []string{"TraceID"}},
		// the program works without the collector, logs it once and ends in time
		{name: "no_collector", env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + nowhere,
			"OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_METRIC_EXPORT_INTERVAL=10"}, want: []string{"refused"}, warnings: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, t.TempDir(), tt.env, "-listen=127.0.0.1:0")
			publish(t, p, "spring", "")
			p.Line("published")
			if tt.warnings > 0 {
				p.Line("WARN OpenTelemetry")
			}
			begun := time.Now()
			out := p.Stop()
			if d := time.Since(begun); d > 20*time.Second {
				t.Errorf("it has stopped after %v", d)
			}
			for _, text := range tt.want {
				if !strings.Contains(out, text) {
					t.Errorf("no %s in\n%s", text, out)
				}
			}
			for _, text := range tt.unwanted {
				if strings.Contains(out, text) {
					t.Errorf("%s is in\n%s", text, out)
				}
			}
			if n := strings.Count(out, "WARN"); n != tt.warnings {
				t.Errorf("%d warnings in\n%s", n, out)
			}
		})
	}
}

// A value that OpenTelemetry does not know is a failure that names the variable.
func TestInvalidEnvironment(t *testing.T) {
	p := start(t, t.TempDir(), []string{"OTEL_METRICS_EXPORTER=smoke"}, "-listen=127.0.0.1:0")
	if code := p.Wait(); code == 0 || !strings.Contains(p.Output(), `OTEL_METRICS_EXPORTER="smoke": `) {
		t.Errorf("exit code %d", code)
	}
}

// OTEL_METRICS_EXPORTER=prometheus serves the names that the table has for Prometheus.
func TestPrometheusNames(t *testing.T) {
	address := unused(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, t.TempDir(), []string{"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST=" + host,
		"OTEL_EXPORTER_PROMETHEUS_PORT=" + port}, "-listen=127.0.0.1:0")
	publish(t, p, "spring", "")
	var page string
	testkit.Eventually(t, "the task has ended", func() bool {
		page = get(t, "http://"+address+"/metrics")
		return strings.Contains(page, `af_task_ended_total{`) && strings.Contains(page, "af_job_fires_total{")
	})
	p.Stop()
	table := map[string]string{}
	for _, m := range metric.All() {
		table[m.Prometheus()] = string(m.Kind)
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^# TYPE ((?:af|rpc)_\w+) (\w+)$`).FindAllStringSubmatch(page, -1) {
		found++
		if table[m[1]] != m[2] {
			t.Errorf("%s is a %s, want %q", m[1], m[2], table[m[1]])
		}
	}
	if found < 15 {
		t.Errorf("only %d metrics in\n%s", found, page)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// unused returns an address on which nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
