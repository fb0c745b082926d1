package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/afgen/afgen/runtime/instrument/metric"
)

// A query is a line, or several lines, of a panel: the values of one metric.
type query struct {
	metric string
	show   string // an aggregation: one of the constants
	by     []string
	where  string // a condition on attributes, such as status="failed"
	per    string // a condition too: the result is the share of where among these
	legend string // by default the values of by
}

// How the series of a metric are aggregated.
const (
	largest  = "max"      // of a gauge that all Apps report alike, or of the worst App
	smallest = "min"      // of a gauge, to show what is down anywhere
	total    = "sum"      // of a gauge that each App has for itself
	rate     = "rate"     // events per second
	count    = "count"    // events in the range of the dashboard
	each     = "each"     // events in each interval, for rare ones
	quantile = "quantile" // of a histogram; the variable quantile tells which
	mean     = "mean"     // of a histogram
	share    = "share"    // of the events of where among those of per
)

// Units of Grafana that are not those of a metric.
const (
	perSecond = "cps"
	percent   = "percentunit"
)

// targetLabels are the labels by which Prometheus and Kubernetes name the program that has the series.
var targetLabels = []string{"namespace", "job", "instance"}

// find returns a metric of the table.
func find(name string) (metric.Metric, error) {
	all := metric.All()
	i := slices.IndexFunc(all, func(m metric.Metric) bool { return m.Name == name })
	if i < 0 {
		return metric.Metric{}, fmt.Errorf("no metric is named %s", name)
	}
	return all[i], nil
}

// label returns the label of an attribute in Prometheus.
func label(attribute string) string { return strings.ReplaceAll(attribute, ".", "_") }

// expression returns the query in PromQL. It fails if the metric has no such attribute or is of another kind.
func (q query) expression() (string, error) {
	m, err := find(q.metric)
	if err != nil {
		return "", err
	}
	var by []string
	for _, a := range q.by {
		if !slices.Contains(m.Attributes, a) && !slices.Contains(targetLabels, a) {
			return "", fmt.Errorf("%s has no attribute %s", m.Name, a)
		}
		by = append(by, label(a))
	}
	kinds := map[string][]metric.Kind{
		largest: {metric.Gauge}, smallest: {metric.Gauge}, total: {metric.Gauge},
		rate: {metric.Counter, metric.Histogram}, share: {metric.Counter, metric.Histogram},
		count: {metric.Counter, metric.Histogram}, each: {metric.Counter, metric.Histogram},
		quantile: {metric.Histogram}, mean: {metric.Histogram},
	}
	if !slices.Contains(kinds[q.show], m.Kind) {
		return "", fmt.Errorf("%s is a %s and has no %s", m.Name, m.Kind, q.show)
	}
	name := m.Prometheus()
	events := name
	if m.Kind == metric.Histogram {
		events += "_count"
	}
	sum := func(series, where, function, window string, by ...string) string {
		return fmt.Sprintf("sum%s (%s(%s%s[%s]))", grouped(by), function, series, selector(m, where), window)
	}
	const interval = "$__rate_interval"
	switch q.show {
	case rate:
		return sum(events, q.where, "rate", interval, by...), nil
	case count:
		return sum(events, q.where, "increase", "$__range", by...), nil
	case each:
		return sum(events, q.where, "increase", interval, by...), nil
	case share: // 0 while only other events happen
		part, whole := sum(events, q.where, "rate", interval, by...), sum(events, q.per, "rate", interval, by...)
		return fmt.Sprintf("(%s or 0 * %s) / %s", part, whole, whole), nil
	case mean:
		values := sum(name+"_sum", q.where, "rate", interval, by...)
		return values + " / " + sum(events, q.where, "rate", interval, by...), nil
	case quantile:
		return fmt.Sprintf("histogram_quantile($quantile, %s)",
			sum(name+"_bucket", q.where, "rate", interval, append(by, "le")...)), nil
	}
	return fmt.Sprintf("%s%s (%s%s)", q.show, grouped(by), name, selector(m, q.where)), nil
}

// grouped returns the clause that keeps labels.
func grouped(by []string) string {
	if len(by) == 0 {
		return ""
	}
	return " by (" + strings.Join(by, ", ") + ")"
}

// selector returns the conditions on the labels of a metric: those of the variables of the dashboard, and where.
func selector(m metric.Metric, where string) string {
	conditions := []string{`namespace=~"$namespace"`, `job=~"$job"`, `instance=~"$instance"`}
	for _, a := range m.Attributes {
		switch {
		case a == "queue" && !strings.HasPrefix(m.Name, "af.message."): // the variable has the queues of tasks
			conditions = append(conditions, `queue=~"$queue"`)
		case a == "rpc.system.name", a == "messaging.system": // other instrumentation has metrics of the same name
			conditions = append(conditions, label(a)+`="`+metric.System+`"`)
		}
	}
	if where != "" {
		conditions = append(conditions, where)
	}
	return "{" + strings.Join(conditions, ", ") + "}"
}

// unit returns the unit in Grafana of what the query shows.
func (q query) unit() (string, error) {
	m, err := find(q.metric)
	switch {
	case err != nil:
		return "", err
	case q.show == share:
		return percent, nil
	case q.show == rate:
		return perSecond, nil
	case q.show == count, q.show == each:
		return "short", nil
	case m.Unit == "s":
		return "s", nil
	case strings.HasPrefix(m.Unit, "{"):
		return "short", nil // a number of what the title of the panel names
	}
	return "", fmt.Errorf("the unit %s of %s has none in Grafana", m.Unit, m.Name)
}

// name returns the legend of a line in Grafana's template language.
func (q query) name() string {
	if q.legend != "" || len(q.by) == 0 {
		return q.legend
	}
	var parts []string
	for _, a := range q.by {
		parts = append(parts, "{{"+label(a)+"}}")
	}
	return strings.Join(parts, " ")
}
