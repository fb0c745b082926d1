package traces

import (
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

var update = flag.Bool("update", false, "write the table of attributes into docs/otel.md")

// An attributeRow is a row of the table of attributes in docs/otel.md. The kinds of spans are those of group.
type attributeRow struct{ key, kind, always, sometimes, value string }

const tasks = "submit process lost "

var attributeTable = []attributeRow{
	{"af.instance", "string", "client server submit process lost send receive", "", "the id of the App that has the span"},
	{string(semconv.ErrorTypeKey), "string", "lost", "client server submit process send receive fire",
		"the code, if the status is an error"},

	{string(semconv.RPCSystemNameKey), "string", "client server", "", "`afgen`"},
	{string(semconv.RPCMethodKey), "string", "client server", "", "service and method"},
	{string(semconv.RPCResponseStatusCodeKey), "string", "client server", "", "`ok` or the code"},
	{"af.call.tries", "int64", "client", "", "requests sent"},
	{"af.call.outcome", "string", "", "client", "of a call that has failed: `answered`, `not sent` or `unknown`"},
	{"af.call.server", "string", "", "client", "the id of the App that has answered"},
	{"af.call.id", "string", "server", "", "the id of the call, as in logs"},
	{"af.call.caller", "string", "server", "", "the id of the App that calls"},

	{string(semconv.MessagingSystemKey), "string", tasks + "send receive", "", "`afgen`"},
	{string(semconv.MessagingOperationNameKey), "string", tasks + "send receive", "", "the first word of the span's name"},
	{string(semconv.MessagingOperationTypeKey), "string", "submit process send receive", "", "`send` or `process`"},
	{string(semconv.MessagingDestinationNameKey), "string", tasks + "send receive", "", "the queue"},
	{string(semconv.MessagingMessageIDKey), "string", "process lost", "submit", "the id of the task"},
	{string(semconv.MessagingMessageBodySizeKey), "int64", "submit process send receive", "",
		"bytes of the payload or payloads"},
	{string(semconv.MessagingBatchMessageCountKey), "int64", "", "submit", "number of tasks, if several are submitted"},

	{"af.task.stored", "int64", "", "submit", "how many of several tasks are known to be stored by it, without those that existed"},
	{"af.task.attempt", "int64", "process lost receive", "", "the number of the attempt or delivery, from 1"},
	{"af.task.fence", "int64", "process lost", "", "rises with each claim of the task"},
	{"af.task.weight", "int64", "process", "", "the weight of the task"},
	{"af.task.wait", "float64", "process", "", "seconds from when the task was due until it was claimed"},
	{"af.task.process", "bool", "", "process", "the handler runs in a child process"},
	{"af.task.outcome", "string", "process lost", "", "`success`, `failed`, `stopped`, `returned` or `lost`"},
	{"af.task.status", "string", "process lost", "", "what the task becomes"},
	{"af.task.snoozed", "bool", "", "process", "the handler has returned `Snooze`"},
	{"af.task.abandoned", "bool", "", "process", "the handler has not returned in time"},
	{"af.task.source", "string", "", "submit process", "the id of the task of which it is a subtask"},
	{"af.task.done_of", "string", "", "process", "the id of the task whose `SubtasksDone` runs"},
	{"af.task.retry_of", "string", "", "submit process", "the id of the task that is retried"},
	{"af.task.owner", "string", "lost", "", "the process that ran the attempt"},
	{"af.delay", "float64", "", "process receive", "seconds until the next attempt or delivery"},
	{"af.job", "string", "fire", "submit process", "the id of the job"},
	{"af.message.dead", "string", "", "receive", "why the message is moved to the dead-letter queue"},
}

// The table is in the documentation. Attributes that are not of afgen are those of the semantic conventions.
func TestAttributesAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| attribute | type | always on | sometimes on | value |\n|---|---|---|---|---|\n")
	for _, r := range attributeTable {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.key, r.kind, strings.Join(strings.Fields(r.always), ", "),
			strings.Join(strings.Fields(r.sometimes), ", "), r.value)
	}
	b.WriteString("\n")
	testkit.Section(t, "../../../../docs/otel.md", "<!-- begin attributes -->", "<!-- end attributes -->", b.String(),
		*update)
}

// group returns the kind of a span, as in the table, and its name as it should be by its attributes.
func group(s span) (kind, name string) {
	verb, _, _ := strings.Cut(s.Name, " ")
	switch a := s.Attributes; {
	case a["rpc.method"] != "":
		return s.Kind, a["rpc.method"]
	case verb == "fire":
		return verb, "fire " + a["af.job"]
	case verb == "process" && a["messaging.message.id"] == "":
		verb = "receive"
		fallthrough
	default:
		return verb, a["messaging.operation.name"] + " " + a["messaging.destination.name"]
	}
}

// attributes compares the attributes of all spans with the table, and that the spans have all of them.
func (p *pair) attributes(t *testing.T) {
	kinds := map[string][]string{"client": {"client"}, "server": {"server"}, "submit": {"producer", "client"},
		"process": {"consumer"}, "receive": {"consumer"}, "lost": {"internal"}, "send": {"producer"}, "fire": {"internal"}}
	rows := map[string]attributeRow{}
	for _, r := range attributeTable {
		rows[r.key] = r
	}
	seen, all := map[string]bool{}, p.matching(func(s span) bool { return s.Name != "GET /" })
	for _, s := range all {
		g, name := group(s)
		if name != s.Name || !slices.Contains(kinds[g], s.Kind) {
			t.Errorf("%s %s is a span %q of the kind %s", s.Kind, s.Name, name, g)
		}
		for key, value := range s.Attributes {
			r := rows[key]
			if seen[g+" "+key] = true; r.kind != s.Types[key] || !on(r.always, g) && !on(r.sometimes, g) {
				t.Errorf("%s has %s %s=%s, which is not in the table", s.Name, s.Types[key], key, value)
			}
			if known := enumerated(r.value); strings.Contains(value, otherSecret) ||
				known != nil && !slices.Contains(known, value) {
				t.Errorf("%s has %s=%s", s.Name, key, value)
			}
		}
		for _, r := range attributeTable {
			if _, ok := s.Attributes[r.key]; on(r.always, g) && !ok {
				t.Errorf("%s has no %s: %v", s.Name, r.key, s.Attributes)
			}
		}
		if (s.Attributes["error.type"] != "") != (s.Status == "error") || s.Text != "" {
			t.Errorf("%s has the status %s %q and the error.type %q", s.Name, s.Status, s.Text, s.Attributes["error.type"])
		}
		for _, l := range s.Links {
			if !slices.Contains([]string{"creation", "previous_attempt", "retried_task"}, l.Kind) {
				t.Errorf("%s has a link %q", s.Name, l.Kind)
			}
		}
	}
	for _, r := range attributeTable {
		for _, g := range strings.Fields(r.always + " " + r.sometimes) {
			if !seen[g+" "+r.key] && !rare[g+" "+r.key] {
				t.Errorf("no span %s has %s", g, r.key)
			}
		}
	}
	for _, s := range p.spans.Ended() {
		if scope := s.InstrumentationScope(); scope.Name != "test" && scope.SchemaURL != semconv.SchemaURL {
			t.Errorf("%s has the schema %q", s.Name(), scope.SchemaURL)
		}
		if events := s.Events(); len(events) > 0 { // they would have texts of errors
			t.Errorf("%s has the events %v", s.Name(), events)
		}
	}
}

// enumerated returns the values of an attribute, if the table lists all of them as "`a`, `b` or `c`", or nil.
func enumerated(text string) (all []string) {
	for _, v := range strings.Split(strings.ReplaceAll(text, " or ", ", "), ", ") {
		value, begins := strings.CutPrefix(v, "`")
		value, ends := strings.CutSuffix(value, "`")
		if !begins || !ends {
			return nil
		}
		all = append(all, value)
	}
	return all
}

// rare are attributes that only failures have which the tests do not cause.
var rare = map[string]bool{"send error.type": true, "fire error.type": true}

func on(groups, g string) bool { return slices.Contains(strings.Fields(groups), g) }

// ids are the attributes of spans that are ids.
var ids = []string{"af.instance", "messaging.message.id", "af.call.server", "af.call.id", "af.call.caller",
	"af.task.source", "af.task.done_of", "af.task.retry_of", "af.task.owner"}

// unbounded matches values that many attributes could have: ids, addresses, numbers.
var unbounded = regexp.MustCompile(`[0-9A-Z]{10}|[0-9a-f]{16}|\d{4}|:\d|\.\d+\.`)

// metrics checks that no attribute of a metric has an id, after everything has happened, and those of the table.
func (p *pair) metrics(t *testing.T) {
	found := map[string]bool{}
	for _, s := range p.ended() {
		found[s.Trace], found[s.ID] = true, true
		for _, key := range ids {
			found[s.Attributes[key]] = true
		}
	}
	if delete(found, ""); len(found) < 100 {
		t.Errorf("only %d ids", len(found))
	}
	table := map[string]metric.Metric{}
	for _, m := range metric.All() {
		table[m.Name] = m
	}
	values, collected := map[string]map[string]bool{}, p.collect()
	for name := range table {
		if len(points(collected[name])) == 0 && name != "af.log.lost" { // no test loses records
			t.Errorf("%s has no values", name)
		}
	}
	for name, m := range collected {
		want := table[name]
		if m.Unit != want.Unit || m.Description != want.Description {
			t.Errorf("%s has the unit %q and the description %q", name, m.Unit, m.Description)
		}
		for _, point := range points(m) {
			for key, value := range point.values {
				if values[key] == nil {
					values[key] = map[string]bool{}
				}
				values[key][value] = true
				if !slices.Contains(want.Attributes, key) || found[value] || unbounded.MatchString(value) {
					t.Errorf("%s has the attribute %s=%s", name, key, value)
				}
			}
		}
	}
	for key, all := range values {
		most := 20
		if key == "op" { // of all ports together; docs/metrics.md says about fifty
			most = 60
		}
		if len(all) > most {
			t.Errorf("%s has %d values: %v", key, len(all), all)
		}
	}
}

// A point is a value of a metric, or the count of a histogram.
type point struct {
	values map[string]string
	value  float64
}

func points(m metricdata.Metrics) (all []point) {
	add := func(attributes map[string]string, v float64) { all = append(all, point{attributes, v}) }
	switch data := m.Data.(type) {
	case metricdata.Sum[float64]:
		for _, p := range data.DataPoints {
			add(set(p.Attributes), p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			add(set(p.Attributes), p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			add(set(p.Attributes), float64(p.Count))
		}
	}
	return all
}

// sum adds the points of a metric that have some attributes.
func sum(m metricdata.Metrics, having map[string]string) (n float64) {
	for _, p := range points(m) {
		all := maps.Clone(p.values)
		if maps.Copy(all, having); maps.Equal(all, p.values) {
			n += p.value
		}
	}
	return n
}

func set(attributes attribute.Set) map[string]string {
	all := map[string]string{}
	for _, a := range attributes.ToSlice() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// collect returns the metrics by name.
func (f *fixture) collect() map[string]metricdata.Metrics {
	f.Helper()
	var data metricdata.ResourceMetrics
	must(f.T, f.reader.Collect(f.Context(), &data))
	all := map[string]metricdata.Metrics{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m
		}
	}
	return all
}
