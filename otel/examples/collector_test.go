package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
)

// A collector keeps what programs send by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []span
	metrics map[string]*metrics.Metric // of the module otel, by name
	sources map[string][]string        // ids of the processes, by service.name
	refused []string
}

// A span is a span with the name of the program that has sent it.
type span struct {
	*trace.Span
	service string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: map[string]*metrics.Metric{}, sources: map[string][]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.receive))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone: a shutdown interrupts the periodic export
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		err = c.traces(body)
	case "/v1/metrics":
		err = c.measurements(body)
	default:
		err = fmt.Errorf("unexpected path %s", r.URL.Path)
	}
	if err != nil {
		c.refused = append(c.refused, err.Error())
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) traces(body []byte) error {
	var request collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	for _, of := range request.GetResourceSpans() {
		service := c.source(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, span{s, service})
			}
		}
	}
	return nil
}

func (c *collector) measurements(body []byte) error {
	var request collectormetrics.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	for _, of := range request.GetResourceMetrics() {
		c.source(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				if scope.GetScope().GetName() == "github.com/afgen/afgen/otel" {
					c.metrics[m.GetName()] = m
				}
			}
		}
	}
	return nil
}

// source returns the service.name of a resource, and remembers the process.
func (c *collector) source(attributes []*common.KeyValue) string {
	service, id := text(attributes, "service.name"), text(attributes, "service.instance.id")
	if !slices.Contains(c.sources[service], id) {
		c.sources[service] = append(c.sources[service], id)
	}
	return service
}

// text returns an attribute that is a string, or "".
func text(attributes []*common.KeyValue, key string) string {
	for _, a := range attributes {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// tree returns the spans of a trace, sorted: each with its service, kind and name, below its ancestors. Spans whose
// parent has not arrived begin with a question mark.
func (c *collector) tree(traceID []byte, root []byte) (paths []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := map[string]span{}
	for _, s := range c.spans {
		if string(s.GetTraceId()) == string(traceID) {
			byID[string(s.GetSpanId())] = s
		}
	}
	for _, s := range byID {
		path, up := label(s), s
		for string(up.GetParentSpanId()) != string(root) {
			parent, ok := byID[string(up.GetParentSpanId())]
			if !ok {
				path = "? > " + path
				break
			}
			path, up = label(parent)+" > "+path, parent
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func label(s span) string {
	kind := strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"))
	return fmt.Sprintf("%s(%s %s)", s.GetName(), s.service, kind)
}

// read calls f while nothing is received.
func (c *collector) read(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
