package dashboard

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
)

const (
	nodesOnPage     = 100
	goneNodes       = 1000 // that are read, of which those of the last hour are shown
	goneFor         = time.Hour
	instancesOnPage = 500
	workersOnPage   = 500
	nearlyFull      = 0.9
	oldSample       = 2 * time.Minute // after which the load of a machine is called old
)

// A machinesPage is the data of the page of machines.
type machinesPage struct {
	frame
	Nodes    []nodeRow
	Lost     []af.InstanceInfo // instances whose machine is not known
	Gone     []af.Node         // machines without an instance that have reported in the last hour
	Crashed  int64             // attempts of the last hour whose processes died
	Workers  []af.WorkerInfo
	Versions []versionCount
	Modes    []af.InstanceInfo // instances in degraded modes
	Down     []af.Condition    // of the App that answers
	Missing  []string
	More     []string // what is left out, in words
}

// A nodeRow is a machine with its instances.
type nodeRow struct {
	af.Node
	Bars      []bar
	Old       bool // the bars are of a while ago
	Instances []af.InstanceInfo
}

// About returns what a machine reports of itself.
func (n nodeRow) About() string {
	parts := []string{strings.TrimSpace(n.Platform + " " + n.PlatformVersion), strings.Trim(n.OS+"/"+n.Arch, "/"),
		n.CPUModel}
	parts = append(parts, n.IPs...)
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " · ")
}

// A bar is a share of something that a machine has.
type bar struct {
	Name, Text string
	Share      float64 // in percent
	Class      string  // of its color
	Warning    string  // in words, if it is nearly full
}

// A versionCount is how many instances have a version.
type versionCount struct {
	Version string
	N       int
}

func (s *server) machines(v *viewer, w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p := machinesPage{}
	p.frame = frame{viewer: v, Title: "Machines", Nav: "machines"}
	var (
		instances                         af.InstancePage
		nodes, all                        af.NodePage
		workers                           af.WorkerPage
		health                            af.Health
		hour                              []af.HistoryPoint
		err, nodesErr, goneErr, workerErr error
		healthErr, hourErr                error
	)
	together(func() { instances, err = v.api.Instances(ctx, af.InstanceQuery{Limit: instancesOnPage}) },
		func() { nodes, nodesErr = v.api.Nodes(ctx, af.NodeQuery{Limit: nodesOnPage}) },
		func() { all, goneErr = v.api.Nodes(ctx, af.NodeQuery{Gone: true, Limit: goneNodes}) },
		func() { workers, workerErr = v.api.Workers(ctx, af.WorkerQuery{Limit: workersOnPage, NoWaiting: true}) },
		func() { health, healthErr = v.api.Health(ctx) },
		func() { hour, hourErr = v.api.History(ctx, af.HistoryQuery{}) })
	if err != nil {
		return err
	}
	if nodesErr != nil {
		p.Missing = append(p.Missing, "The machines could not be read: "+messageOf(nodesErr))
	} else if goneErr != nil {
		p.Missing = append(p.Missing, "The machines that are gone could not be read: "+messageOf(goneErr))
	} else {
		p.Gone = goneOf(all.Nodes, v.now)
	}
	if workerErr != nil {
		p.Missing = append(p.Missing, "The workers could not be read: "+messageOf(workerErr))
	}
	if healthErr != nil {
		p.Missing = append(p.Missing, "The health could not be read: "+messageOf(healthErr))
	}
	for _, c := range health.Conditions {
		if !c.Up {
			p.Down = append(p.Down, c)
		}
	}
	if hourErr != nil {
		p.Missing = append(p.Missing, "The history could not be read: "+messageOf(hourErr))
	}
	for i := range hour {
		p.Crashed += hour[i].Lost
	}
	p.Workers = workers.Workers
	for name, cursor := range map[string]string{"machines": nodes.Cursor, "instances": instances.Cursor,
		"workers": workers.Cursor} {
		if cursor != "" {
			p.More = append(p.More, name)
		}
	}
	slices.Sort(p.More)
	p.place(nodes.Nodes, instances.Instances)
	return s.render(w, http.StatusOK, "machines", &p)
}

// An instanceTable is the data of the template "instancerows".
type instanceTable struct {
	*viewer
	Rows []af.InstanceInfo
}

// Table returns the data of a table of instances.
func (p *machinesPage) Table(rows []af.InstanceInfo) instanceTable {
	return instanceTable{p.viewer, rows}
}

// TasksOf returns the path of the tasks that an instance runs or ran last.
func (t instanceTable) TasksOf(id string) string { return t.TasksLink("instance:" + quoted(id)) }

// List returns the first names of a list, and how many others there are.
func (t instanceTable) List(names []string) string {
	const most = 4
	if more := len(names) - most; more > 0 {
		return t.Cut(80, strings.Join(names[:most], ", ")) + fmt.Sprintf(" and %d more", more)
	}
	return t.Cut(80, strings.Join(names, ", "))
}

// goneOf returns the machines without an instance that have reported lately, the latest first.
func goneOf(nodes []af.Node, now time.Time) (gone []af.Node) {
	for i := range nodes {
		if n := &nodes[i]; len(n.Instances) == 0 && !n.Time.IsZero() && now.Sub(n.Time) <= goneFor {
			gone = append(gone, *n)
		}
	}
	slices.SortFunc(gone, func(a, b af.Node) int { return b.Time.Compare(a.Time) })
	return gone
}

// place assigns the instances to their machines.
func (p *machinesPage) place(nodes []af.Node, instances []af.InstanceInfo) {
	at := map[string]int{}
	for i := range nodes {
		at[nodes[i].ID] = i
		p.Nodes = append(p.Nodes, nodeRow{Node: nodes[i], Bars: barsOf(&nodes[i]),
			Old: !nodes[i].Time.IsZero() && p.now.Sub(nodes[i].Time) > oldSample})
	}
	versions := map[string]int{}
	for i := range instances {
		in := instances[i]
		versions[in.Version]++
		if len(in.Degraded) > 0 {
			p.Modes = append(p.Modes, in)
		}
		if n, ok := at[in.Node]; ok {
			p.Nodes[n].Instances = append(p.Nodes[n].Instances, in)
		} else {
			p.Lost = append(p.Lost, in)
		}
	}
	for version, n := range versions {
		p.Versions = append(p.Versions, versionCount{version, n})
	}
	slices.SortFunc(p.Versions, func(a, b versionCount) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Version, b.Version))
	})
}

// barsOf returns the load of a machine. What it does not report is left out.
func barsOf(n *af.Node) (bars []bar) {
	add := func(name string, share float64, text, warning string) {
		b := bar{Name: name, Text: text, Share: min(max(share, 0), 1) * 100, Class: "running"}
		if share >= nearlyFull {
			b.Class, b.Warning = "failed", warning
		}
		bars = append(bars, b)
	}
	if n.CPUs > 0 {
		text := fmt.Sprintf("%.0f %% of %s", n.CPU*100, plural(n.CPUs, "CPU"))
		if n.Load1 > 0 || n.Load5 > 0 {
			text += fmt.Sprintf(", load %.1f · %.1f · %.1f", n.Load1, n.Load5, n.Load15)
		}
		add("CPU", n.CPU, text, "nearly all in use")
	}
	amount := func(name string, used, total uint64) {
		if total > 0 {
			add(name, float64(used)/float64(total), bytesText(used)+" of "+bytesText(total), "nearly full")
		}
	}
	amount("Memory", n.MemoryUsed, n.MemoryTotal)
	amount("Disk", n.DiskUsed, n.DiskTotal)
	return bars
}

// bytesText returns an amount of memory in the largest unit of which there is at least one.
func bytesText(n uint64) string {
	size, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 || size >= 100 {
		return strconv.FormatFloat(size, 'f', 0, 64) + " " + units[unit]
	}
	return strconv.FormatFloat(size, 'f', 1, 64) + " " + units[unit]
}
