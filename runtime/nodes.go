package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/machine"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Node is a machine on which Apps run, as it has last described itself. In a container memory, CPUs and load are those
// of the machine beneath it, and the name is the container's own. What the system doesn't tell is zero.
type Node struct {
	ID              string   `json:"id"` // the name, and a hash of what identifies the machine
	Host            string   `json:"host"`
	IPs             []string `json:"ips"` // of its interfaces, and those that its instances report
	OS              string   `json:"os"`  // as GOOS
	Platform        string   `json:"platform"`
	PlatformVersion string   `json:"platform_version,omitempty"`
	Kernel          string   `json:"kernel"`
	Arch            string   `json:"arch"` // as GOARCH
	CPUs            int      `json:"cpus"` // logical ones
	CPUModel        string   `json:"cpu_model,omitempty"`
	MemoryTotal     uint64   `json:"memory_total"` // bytes
	DiskTotal       uint64   `json:"disk_total"`   // bytes, of the root's file system
	NodeSample               // the latest

	// Instances are the Apps that run there now, by id; none where the node is gone.
	Instances []string `json:"-"`
}

// A NodeSample is how busy a node was.
type NodeSample struct {
	Time       time.Time `json:"time"`        // by the node's own clock
	CPU        float64   `json:"cpu"`         // share of all CPUs in use, 0 to 1, since the sample before
	Load1      float64   `json:"load1"`       // as uptime prints it
	Load5      float64   `json:"load5"`       //
	Load15     float64   `json:"load15"`      //
	MemoryUsed uint64    `json:"memory_used"` // bytes
	DiskUsed   uint64    `json:"disk_used"`   // bytes
}

// A NodeQuery selects nodes; zero fields don't restrict.
type NodeQuery struct {
	ID, Host, IP, OS string
	Gone             bool // also those on which no App runs now, as long as they are kept
	Sort             NodeSort
	Limit            int // of the page, 1 to 1000; 0 is 100
	Skip             int // nodes before the page
}

// A NodeSort is an order of nodes; ids break ties.
type NodeSort string

// The orders of nodes.
const (
	NodesByID     NodeSort = ""
	NodesByCPU    NodeSort = "cpu"    // the busiest first
	NodesByMemory NodeSort = "memory" // the largest share in use first
	NodesByDisk   NodeSort = "disk"   // the largest share in use first
	NodesByLoad   NodeSort = "load"   // the highest load a CPU first, of the last minute
)

// A NodePage is one page of nodes.
type NodePage struct {
	Nodes []Node
	Total int // of all pages
}

const (
	nodesPrefix   = "machines/"        // of documents: the latest report
	historyPrefix = "machine-history/" // of documents
	reportEvery   = 20 * time.Second
	sampleEvery   = 3   // reports
	historyLength = 180 // samples: three hours
	tidyEvery     = 30  // reports of this App
	goneFor       = 7 * 24 * time.Hour
)

// Nodes lists the machines on which Apps run now and that match q, each as it was 20 seconds ago or later. It is
// unavailable while the coordinator or the store is.
func (a *App) Nodes(ctx context.Context, q NodeQuery) (NodePage, error) {
	all, e, err := a.present(ctx)
	if err != nil {
		return NodePage{}, err
	}
	known, err := e.nodes.all(ctx)
	if err != nil {
		return NodePage{}, err
	}
	for id, n := range all {
		node, ok := known[n.Node]
		if !ok { // its first report is still to come
			node = &Node{ID: n.Node, Host: n.Host}
			known[n.Node] = node
		}
		node.Instances = append(node.Instances, id)
		if !slices.Contains(node.IPs, n.IP) {
			node.IPs = append(node.IPs, n.IP)
		}
	}
	var found []Node
	for id, n := range known {
		if matches(q.ID, id) && matches(q.Host, n.Host) && matches(q.OS, n.OS) && (q.IP == "" || slices.Contains(n.IPs, q.IP)) &&
			(q.Gone || len(n.Instances) > 0) {
			slices.Sort(n.Instances)
			slices.Sort(n.IPs)
			found = append(found, *n)
		}
	}
	most := func(of func(n Node) float64) func(a, b Node) int {
		return func(a, b Node) int { return cmp.Compare(of(b), of(a)) }
	}
	order := map[NodeSort]func(a, b Node) int{
		NodesByID:     func(a, b Node) int { return 0 },
		NodesByCPU:    most(func(n Node) float64 { return n.CPU }),
		NodesByMemory: most(func(n Node) float64 { return float64(n.MemoryUsed) / float64(max(n.MemoryTotal, 1)) }),
		NodesByDisk:   most(func(n Node) float64 { return float64(n.DiskUsed) / float64(max(n.DiskTotal, 1)) }),
		NodesByLoad:   most(func(n Node) float64 { return n.Load1 / float64(max(n.CPUs, 1)) }),
	}[q.Sort]
	page, err := paged(found, string(q.Sort), order, func(a, b Node) int { return strings.Compare(a.ID, b.ID) }, q.Limit, q.Skip)
	return NodePage{page, len(found)}, err
}

// NodeHistory returns how busy a node was, oldest first: a sample about every minute, for three hours back. It is not_found
// where nothing is known of the node.
func (a *App) NodeHistory(ctx context.Context, id string) ([]NodeSample, error) {
	e, err := a.limited()
	if err != nil {
		return nil, err
	}
	var samples []NodeSample
	doc, err := e.ports.Docs.Get(ctx, historyPrefix+id)
	if CodeOf(err) == ErrNotFound {
		if _, err = e.ports.Docs.Get(ctx, nodesPrefix+id); err == nil {
			return []NodeSample{}, nil
		}
	}
	if err != nil {
		return nil, backend.AsError(err)
	}
	if err := json.Unmarshal(doc.Value, &samples); err != nil {
		return nil, Errorf(ErrDataLoss, "the document %s does not decode: %w", doc.Name, err)
	}
	return samples, nil
}

// A nodes reports on this machine. Of several Apps on one, in one process or not, one reports each time: whoever finds
// that the last report is none of its own, and that it is new, leaves it at that. So no clocks are compared, and when an
// App ends the next one takes over.
type nodes struct {
	e     *engine
	facts func(context.Context) machine.Facts // machine.Describe, but in a test of several machines

	// Only run uses these.
	seen    int64 // revision of the last report
	reports int   // of this App
}

// A report is the document of a node.
type report struct {
	Node
	Count int `json:"count"` // of reports
}

func newNodes(e *engine) *nodes { return &nodes{e: e, facts: machine.Describe} }

func (n *nodes) id() string   { return n.facts(n.e.ctx).ID }
func (n *nodes) host() string { return n.facts(n.e.ctx).Host }

// run reports until ctx ends.
func (n *nodes) run(ctx context.Context) {
	if n.e.ports.Docs == nil {
		return
	}
	for {
		wait := reportEvery
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		if err := n.report(opCtx); err != nil && ctx.Err() == nil {
			n.e.log.Debug("the node is not reported", "error", err)
			wait = retry.MaxPoll
		}
		cancel()
		if !retry.Sleep(ctx, retry.Jitter(wait)) {
			return
		}
	}
}

// report stores how the machine is, unless somebody else just has.
func (n *nodes) report(ctx context.Context) error {
	docs, name := n.e.ports.Docs, nodesPrefix+n.id()
	doc, err := docs.Get(ctx, name)
	var r report
	switch {
	case CodeOf(err) == ErrNotFound:
	case err != nil:
		return err
	case n.reports > 0 && doc.Revision != n.seen:
		n.seen = doc.Revision
		return nil
	default:
		_ = json.Unmarshal(doc.Value, &r) // only for the count
	}
	r.Node, r.Count = describeNode(n.facts(ctx), machine.Measure(ctx)), r.Count+1
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	n.reports++
	if n.seen, err = docs.PutIf(ctx, name, doc.Revision, value); err != nil {
		if CodeOf(err) == ErrAborted {
			return nil // somebody else was quicker
		}
		return err
	}
	if r.Count%sampleEvery == 1 {
		if err := n.remember(ctx, r.Node); err != nil {
			return err
		}
	}
	if n.reports%tidyEvery == 0 {
		return n.tidy(ctx)
	}
	return nil
}

// describeNode is a node as its machine is.
func describeNode(f machine.Facts, u machine.Usage) Node {
	return Node{
		ID: f.ID, Host: f.Host, IPs: localIPs(), OS: f.OS, Platform: f.Platform, PlatformVersion: f.Version, Kernel: f.Kernel,
		Arch: f.Arch, CPUs: f.CPUs, CPUModel: f.CPUModel, MemoryTotal: u.MemoryTotal, DiskTotal: u.DiskTotal,
		NodeSample: NodeSample{time.Now().UTC().Round(time.Millisecond), u.CPU, u.Load1, u.Load5, u.Load15, u.MemoryUsed, u.DiskUsed},
	}
}

// maxIPs is how many addresses a node reports: with containers it may have very many.
const maxIPs = 32

// localIPs returns the addresses of the interfaces that are not for this machine only.
func localIPs() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var ips []string
	for _, a := range addrs {
		if ipnet, ok := a.(*net.IPNet); ok && ipnet.IP.IsGlobalUnicast() && len(ips) < maxIPs {
			ips = append(ips, ipnet.IP.String())
		}
	}
	return ips
}

// remember adds a sample to the node's history.
func (n *nodes) remember(ctx context.Context, node Node) error {
	docs, name := n.e.ports.Docs, historyPrefix+node.ID
	doc, err := docs.Get(ctx, name)
	if err != nil && CodeOf(err) != ErrNotFound {
		return err
	}
	var samples []NodeSample
	_ = json.Unmarshal(doc.Value, &samples) // one that doesn't decode begins anew
	samples = append(samples, node.NodeSample)
	value, err := json.Marshal(samples[max(len(samples)-historyLength, 0):])
	if err == nil {
		_, err = docs.PutIf(ctx, name, doc.Revision, value)
	}
	if CodeOf(err) == ErrAborted {
		return nil
	}
	return err
}

// all returns the nodes that have ever reported and are kept, by id.
func (n *nodes) all(ctx context.Context) (map[string]*Node, error) {
	all := map[string]*Node{}
	if n.e.ports.Docs == nil {
		return all, nil
	}
	docs, err := n.e.ports.Docs.List(ctx, nodesPrefix)
	if err != nil {
		return nil, backend.AsError(err)
	}
	for _, doc := range docs {
		var r report
		if err := json.Unmarshal(doc.Value, &r); err != nil {
			n.e.log.Debug("a node does not decode", "document", doc.Name, "error", err)
			continue
		}
		all[r.ID] = &r.Node
	}
	return all, nil
}

// tidy deletes what is known of nodes that have been gone for long. Here clocks of machines are compared, for nothing
// depends on it: who is deleted too soon reports again.
func (n *nodes) tidy(ctx context.Context) error {
	docs, err := n.e.ports.Docs.List(ctx, nodesPrefix)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		var r report
		if json.Unmarshal(doc.Value, &r) == nil && time.Since(r.Time) < goneFor {
			continue
		}
		for _, d := range []backend.Doc{doc, {Name: historyPrefix + strings.TrimPrefix(doc.Name, nodesPrefix)}} {
			if d.Revision == 0 {
				if d, err = n.e.ports.Docs.Get(ctx, d.Name); err != nil {
					continue // there is none
				}
			}
			if err := n.e.ports.Docs.Delete(ctx, d.Name, d.Revision); err != nil && CodeOf(err) != ErrAborted {
				return err
			}
		}
	}
	return nil
}
