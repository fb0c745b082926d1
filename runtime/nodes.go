package runtime

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/internal/machine"
	"github.com/afgen/afgen/runtime/internal/pages"
	"github.com/afgen/afgen/runtime/internal/presence"
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
	Limit            int    // of the page, 1 to 1000; 0 is 100
	Cursor           string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is a number of nodes to leave out after the cursor. Some are missed or listed twice if others come or go.
	//
	// Deprecated: use Cursor.
	Skip int
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
	Nodes  []Node
	Total  int    // of all pages
	Cursor string // for NodeQuery.Cursor, to get the next page; "" on the last page
}

// NodeFacts sets what the App reports of its machine: describe returns a Node with the facts and the load, of which fields
// left zero are unknown. ID, Host, OS, Arch and CPUs have defaults; IPs, Time and Instances are ignored. describe is called
// every 20 s, by one goroutine at a time, and must return the same ID and Host each time.
//
// Without NodeFacts the App reads /proc on Linux. On other systems it reports ID, Host, OS, Arch and CPUs only, unless it is
// opened with auto.Options, which reads all facts on each system.
func NodeFacts(describe func(context.Context) Node) AppOption {
	return func(s *settings) { s.nodeFacts = describe }
}

// describeNode returns the machine's report.
func (s *settings) describeNode(ctx context.Context) presence.Node {
	if s.nodeFacts == nil {
		return presence.Describe(ctx, machine.Local)
	}
	n, f := s.nodeFacts(ctx), machine.Local.Describe(ctx)
	return presence.Node{
		ID: cmp.Or(n.ID, f.ID), Host: cmp.Or(n.Host, f.Host), OS: cmp.Or(n.OS, f.OS), Platform: n.Platform, PlatformVersion: n.PlatformVersion,
		Kernel: n.Kernel, Arch: cmp.Or(n.Arch, f.Arch), CPUs: cmp.Or(n.CPUs, f.CPUs), CPUModel: n.CPUModel, MemoryTotal: n.MemoryTotal,
		DiskTotal: n.DiskTotal, Sample: presence.Sample(n.NodeSample),
	}
}

// publicNode converts a report.
func publicNode(n presence.Node) *Node {
	return &Node{
		ID: n.ID, Host: n.Host, IPs: n.IPs, OS: n.OS, Platform: n.Platform, PlatformVersion: n.PlatformVersion, Kernel: n.Kernel, Arch: n.Arch,
		CPUs: n.CPUs, CPUModel: n.CPUModel, MemoryTotal: n.MemoryTotal, DiskTotal: n.DiskTotal, NodeSample: NodeSample(n.Sample),
	}
}

// Nodes lists the machines on which Apps run now and that match q, each as it was 20 seconds ago or later. It is
// unavailable while the coordinator or the store is.
func (a *App) Nodes(ctx context.Context, q NodeQuery) (NodePage, error) {
	all, c, err := a.present(ctx)
	if err != nil {
		return NodePage{}, err
	}
	reports, err := c.nodes.All(ctx)
	if err != nil {
		return NodePage{}, err
	}
	known := make(map[string]*Node, len(reports))
	for id, r := range reports {
		known[id] = publicNode(r)
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
	page := NodePage{Total: len(found)}
	key := map[NodeSort]func(Node) string{
		NodesByID:     func(n Node) string { return n.ID },
		NodesByCPU:    func(n Node) string { return pages.Most(n.CPU) + n.ID },
		NodesByMemory: func(n Node) string { return pages.Most(float64(n.MemoryUsed)/float64(max(n.MemoryTotal, 1))) + n.ID },
		NodesByDisk:   func(n Node) string { return pages.Most(float64(n.DiskUsed)/float64(max(n.DiskTotal, 1))) + n.ID },
		NodesByLoad:   func(n Node) string { return pages.Most(n.Load1/float64(max(n.CPUs, 1))) + n.ID },
	}[q.Sort]
	page.Nodes, page.Cursor, err = pages.Of(found, pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}, key)
	return page, err
}

// NodeHistory returns how busy a node was, oldest first: a sample about every minute, for three hours back. It is not_found
// where nothing is known of the node.
func (a *App) NodeHistory(ctx context.Context, id string) ([]NodeSample, error) {
	c, err := a.limited()
	if err != nil {
		return nil, err
	}
	history, err := c.nodes.History(ctx, id)
	if err != nil {
		return nil, err
	}
	samples := make([]NodeSample, len(history))
	for i, s := range history {
		samples[i] = NodeSample(s)
	}
	return samples, nil
}
