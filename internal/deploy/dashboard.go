package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The types below are those parts of Grafana's model of a dashboard that are used here. Their fields are in the order
// of the file.

type dashboardJSON struct {
	UID           string         `json:"uid"`
	Title         string         `json:"title"`
	Description   string         `json:"description"`
	Tags          []string       `json:"tags"`
	SchemaVersion int            `json:"schemaVersion"`
	Editable      bool           `json:"editable"`
	GraphTooltip  int            `json:"graphTooltip"`
	Refresh       string         `json:"refresh"`
	Time          timeJSON       `json:"time"`
	Templating    templatingJSON `json:"templating"`
	Panels        []panelJSON    `json:"panels"`
}

type timeJSON struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templatingJSON struct {
	List []variableJSON `json:"list"`
}

type variableJSON struct {
	Name       string      `json:"name"`
	Label      string      `json:"label"`
	Type       string      `json:"type"`
	Datasource *sourceJSON `json:"datasource,omitempty"`
	Query      any         `json:"query"`
	Definition string      `json:"definition,omitempty"`
	Refresh    int         `json:"refresh,omitempty"` // 2: when the range changes
	Sort       int         `json:"sort,omitempty"`    // 1: by name
	Multi      bool        `json:"multi"`
	IncludeAll bool        `json:"includeAll"`
	AllValue   string      `json:"allValue,omitempty"`
	Current    *optionJSON `json:"current,omitempty"`
}

type optionJSON struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

type labelQueryJSON struct {
	Query string `json:"query"`
	RefID string `json:"refId"`
}

type sourceJSON struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panelJSON struct {
	ID          int            `json:"id"`
	Type        string         `json:"type"`
	Title       string         `json:"title"`
	Description string         `json:"description,omitempty"`
	GridPos     gridJSON       `json:"gridPos"`
	Collapsed   *bool          `json:"collapsed,omitempty"` // of rows
	Datasource  *sourceJSON    `json:"datasource,omitempty"`
	FieldConfig *fieldsJSON    `json:"fieldConfig,omitempty"`
	Options     map[string]any `json:"options,omitempty"`
	Targets     []targetJSON   `json:"targets,omitempty"`
	Panels      []panelJSON    `json:"panels,omitempty"`
}

type gridJSON struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type fieldsJSON struct {
	Defaults  defaultsJSON `json:"defaults"`
	Overrides []any        `json:"overrides"`
}

type defaultsJSON struct {
	Unit       string          `json:"unit"`
	Min        *float64        `json:"min,omitempty"`
	Color      *colorJSON      `json:"color,omitempty"`
	Thresholds *thresholdsJSON `json:"thresholds,omitempty"`
	Mappings   []mappingJSON   `json:"mappings,omitempty"`
	Custom     map[string]any  `json:"custom,omitempty"`
}

type colorJSON struct {
	Mode string `json:"mode"`
}

type thresholdsJSON struct {
	Mode  string     `json:"mode"`
	Steps []stepJSON `json:"steps"`
}

type stepJSON struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"` // null: from the smallest value on
}

type mappingJSON struct {
	Type    string                `json:"type"`
	Options map[string]mappedJSON `json:"options"`
}

type mappedJSON struct {
	Color string `json:"color"`
	Index int    `json:"index"`
	Text  string `json:"text"`
}

type targetJSON struct {
	RefID        string     `json:"refId"`
	Datasource   sourceJSON `json:"datasource"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
	Range        bool       `json:"range"`
	Exemplar     bool       `json:"exemplar,omitempty"`
}

// columns is the width of a dashboard.
const columns = 24

// heights are those of panels by kind.
var heights = map[string]int{number: 4, lines: 8, timeline: 6}

// source is the data source that the reader of the dashboard chooses.
var source = sourceJSON{"prometheus", "${datasource}"}

// Dashboard returns the dashboard as JSON for Grafana 11 and later. It is the same, byte by byte, for the same table of
// metrics.
func Dashboard() ([]byte, error) {
	d := dashboardJSON{
		UID: "afgen", Title: "afgen", Tags: []string{"afgen"}, SchemaVersion: 39, Editable: true, GraphTooltip: 1,
		Description: "Calls, tasks, queues and jobs of a system that uses afgen. " +
			"The metrics are described in https://github.com/afgen/afgen/blob/main/docs/metrics.md",
		Refresh: "30s", Time: timeJSON{"now-1h", "now"}, Templating: templatingJSON{variables()},
	}
	id, y := 0, 0
	var errs []error
	for _, r := range rows {
		id++
		collapsed := false
		d.Panels = append(d.Panels, panelJSON{
			ID: id, Type: "row", Title: r.title, GridPos: gridJSON{1, columns, 0, y}, Collapsed: &collapsed})
		y++
		x, height := 0, 0 // of the current line of panels
		for _, p := range r.panels {
			id++
			if x+p.width > columns {
				x, y, height = 0, y+height, 0
			}
			j, err := p.json(id)
			if err != nil {
				errs = append(errs, fmt.Errorf("panel %q of %q: %w", p.title, r.title, err))
			}
			j.GridPos = gridJSON{heights[p.kind], p.width, x, y}
			d.Panels = append(d.Panels, j)
			x, height = x+p.width, max(height, heights[p.kind])
		}
		y += height
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("encoding the dashboard: %w", err)
	}
	return b.Bytes(), nil
}

// variables are what the reader of the dashboard chooses from.
func variables() []variableJSON {
	all := &optionJSON{"All", "$__all"}
	labels := func(name, title, query string) variableJSON {
		return variableJSON{
			Name: name, Label: title, Type: "query", Datasource: &source, Query: labelQueryJSON{query, name},
			Definition: query, Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".*", Current: all,
		}
	}
	const some = `{namespace=~"$namespace", job=~"$job"}`
	return []variableJSON{
		{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"},
		labels("namespace", "Namespace", "label_values(af_settle_backlog, namespace)"), // empty outside of Kubernetes
		labels("job", "Program", `label_values(af_settle_backlog{namespace=~"$namespace"}, job)`),
		labels("instance", "Instance", "label_values(af_settle_backlog"+some+", instance)"),
		labels("queue", "Queue", "label_values(af_queue_tasks"+some+", queue)"),
		{Name: "quantile", Label: "Quantile", Type: "custom", Query: "0.5,0.9,0.95,0.99",
			Current: &optionJSON{"0.95", "0.95"}},
	}
}

// json returns the panel without its place.
func (p panel) json(id int) (panelJSON, error) {
	var unit string
	var targets []targetJSON
	for i, q := range p.queries {
		expression, err := q.expression()
		if err != nil {
			return panelJSON{}, err
		}
		u, err := q.unit()
		if err != nil {
			return panelJSON{}, err
		}
		if i > 0 && u != unit {
			return panelJSON{}, fmt.Errorf("%s is in %s, the others in %s", q.metric, u, unit)
		}
		unit = u
		targets = append(targets, targetJSON{
			RefID: string(rune('A' + i)), Datasource: source, Expr: expression, LegendFormat: q.name(), Range: true,
			Exemplar: q.show == quantile,
		})
	}
	zero := 0.0
	defaults := defaultsJSON{Unit: unit, Min: &zero}
	if p.states != nil {
		mapped := map[string]mappedJSON{}
		for i, s := range p.states {
			mapped[s.value] = mappedJSON{s.color, i, s.text}
		}
		defaults.Mappings = []mappingJSON{{"value", mapped}}
	}
	var options map[string]any
	switch p.kind {
	case number:
		defaults.Color = &colorJSON{"thresholds"}
		defaults.Thresholds = &thresholdsJSON{"absolute", []stepJSON{{"green", nil}}}
		for i, c := range p.colors {
			step := stepJSON{c.color, &c.from}
			if i == 0 {
				step.Value = nil
				defaults.Thresholds.Steps = nil
			}
			defaults.Thresholds.Steps = append(defaults.Thresholds.Steps, step)
		}
		options = map[string]any{
			"colorMode": "value", "graphMode": "area",
			"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		}
	case lines:
		defaults.Color = &colorJSON{"palette-classic"}
		defaults.Custom = map[string]any{"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": false}
		options = map[string]any{
			"legend": map[string]any{"displayMode": "table", "placement": "bottom", "showLegend": true,
				"calcs": []string{"lastNotNull", "max"}, "sortBy": "Max", "sortDesc": true},
			"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
		}
	case timeline:
		defaults.Custom = map[string]any{"fillOpacity": 80, "lineWidth": 0}
		options = map[string]any{"mergeValues": true, "showValue": "never", "rowHeight": 0.9,
			"legend": map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true}}
	default:
		return panelJSON{}, fmt.Errorf("no panels of kind %s", p.kind)
	}
	return panelJSON{ID: id, Type: p.kind, Title: p.title, Description: p.description, Datasource: &source,
		FieldConfig: &fieldsJSON{defaults, []any{}}, Options: options, Targets: targets}, nil
}
