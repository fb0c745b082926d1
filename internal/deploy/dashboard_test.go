package deploy

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/instrument/metric"
)

var update = flag.Bool("update", false, "write the generated files in deploy")

const file = "../../deploy/grafana/afgen.json"

// The file has the dashboard of the table of metrics.
func TestDashboardIsCurrent(t *testing.T) {
	want, err := Dashboard()
	if err != nil {
		t.Fatal(err)
	}
	current(t, file, want)
}

// current checks a generated file, or writes it.
func current(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, file); string(got) != string(want) {
		t.Errorf("%s is not current: go test ./internal/deploy -update", file)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readDashboard returns the dashboard as Grafana reads it.
func readDashboard(t *testing.T) dashboardJSON {
	t.Helper()
	var d dashboardJSON
	if err := json.Unmarshal(read(t, file), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Panels have different ids and do not overlap. Each has a title, a description, a unit and queries of one source.
func TestPanelsAreComplete(t *testing.T) {
	d := readDashboard(t)
	ids, taken := map[int]bool{}, map[[2]int]string{}
	var titles []string
	for _, p := range d.Panels {
		if p.ID < 1 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d, %q: the id is not unique, or there is no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > columns {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s and %s overlap", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			titles = nil
			continue
		}
		if slices.Contains(titles, p.Title) {
			t.Errorf("two panels of a row are titled %s", p.Title)
		}
		titles = append(titles, p.Title)
		if !strings.HasSuffix(p.Description, ".") || len(p.Targets) == 0 || *p.Datasource != source {
			t.Errorf("%s: description %q, %d queries, source %v", p.Title, p.Description, len(p.Targets), p.Datasource)
		}
		if u := p.FieldConfig.Defaults.Unit; !slices.Contains([]string{"s", "short", perSecond, percent}, u) {
			t.Errorf("%s has the unit %q", p.Title, u)
		}
		for _, q := range p.Targets {
			if q.Expr == "" || q.Datasource != source {
				t.Errorf("%s: %+v", p.Title, q)
			}
		}
	}
}

// Queries have the unit of what they show.
func TestUnitsAreThoseOfTheTable(t *testing.T) {
	for _, test := range []struct {
		query
		want string
	}{
		{query{metric: "af.task.run", show: quantile}, "s"},
		{query{metric: "af.queue.oldest", show: largest}, "s"},
		{query{metric: "af.claim.tasks", show: mean}, "short"},
		{query{metric: "af.task.run", show: rate}, "cps"},
		{query{metric: "af.task.ended", show: count}, "short"},
		{query{metric: "af.task.ended", show: share, where: `status="failed"`}, "percentunit"},
	} {
		if got, err := test.unit(); got != test.want || err != nil {
			t.Errorf("%s of %s is in %q, want %q: %v", test.show, test.metric, got, test.want, err)
		}
	}
}

// The variables of the dashboard are declared, and used.
func TestVariablesAreDeclared(t *testing.T) {
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(read(t, file)), -1) {
		used[m[1]] = true
	}
	declared := map[string]bool{"__rate_interval": true, "__range": true, "__all": true} // Grafana's own
	for _, v := range readDashboard(t).Templating.List {
		declared[v.Name] = true
		if !used[v.Name] {
			t.Errorf("the variable %s is not used", v.Name)
		}
	}
	for name := range used {
		if !declared[name] {
			t.Errorf("the variable %s is not declared", name)
		}
	}
}

// Each metric of the table is shown. Queries of shared gauges do not add up what all Apps report alike.
func TestEveryMetricIsShown(t *testing.T) {
	shown := map[string]bool{}
	for _, r := range rows {
		for _, p := range r.panels {
			for _, q := range p.queries {
				shown[q.metric] = true
				m, err := find(q.metric)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(m.Description, "use max") && q.show != largest {
					t.Errorf("%s shows %s by %s", p.title, q.metric, q.show)
				}
			}
		}
	}
	for _, m := range metric.All() {
		if !shown[m.Name] {
			t.Errorf("no panel shows %s", m.Name)
		}
	}
}

// A query that does not fit its metric is an error.
func TestQueriesFitTheirMetric(t *testing.T) {
	for _, q := range []query{
		{metric: "af.nothing", show: rate},
		{metric: "af.task.ended", show: largest},
		{metric: "af.task.ended", show: quantile},
		{metric: "af.instances", show: rate},
		{metric: "af.instances", show: largest, by: []string{"queue"}},
		{metric: "af.instances", show: "least"},
	} {
		if e, err := q.expression(); err == nil {
			t.Errorf("%+v is %s", q, e)
		}
	}
	q := query{metric: "af.job.lag", show: quantile, by: []string{"af.job"}}
	const filters = `{namespace=~"$namespace", job=~"$job", instance=~"$instance"}`
	want := "histogram_quantile($quantile, sum by (af_job, le) (rate(af_job_lag_seconds_bucket" + filters +
		"[$__rate_interval])))"
	if got, err := q.expression(); got != want || err != nil {
		t.Errorf("%s, want %s: %v", got, want, err)
	}
}
