package runtime

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/internal/machine"
	"github.com/afgen/afgen/runtime/internal/pages"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/registry"
)

// A Node describes a machine on which Apps run. In a container, memory, CPUs and load are those of the host, and the
// name is the container's. Fields that the system doesn't report are zero.
type Node struct {
	ID              string   `json:"id"` // the name and a hash that identifies the machine
	Host            string   `json:"host"`
	IPs             []string `json:"ips"` // of its interfaces, and those that its instances report
	OS              string   `json:"os"`  // a GOOS value
	Platform        string   `json:"platform"`
	PlatformVersion string   `json:"platform_version,omitempty"`
	Kernel          string   `json:"kernel"`
	Arch            string   `json:"arch"` // a GOARCH value
	CPUs            int      `json:"cpus"` // logical CPUs
	CPUModel        string   `json:"cpu_model,omitempty"`
	MemoryTotal     uint64   `json:"memory_total"` // bytes
	DiskTotal       uint64   `json:"disk_total"`   // bytes, of the root file system
	NodeSample               // the latest

	// Instances has the ids of the Apps running on the node. It is empty if the node is gone.
	Instances []string `json:"instances,omitempty"`
}

// A NodeSample is the load of a node at one time.
type NodeSample struct {
	Time       time.Time `json:"time"`        // by the node's own clock
	CPU        float64   `json:"cpu"`         // share of all CPUs in use, 0 to 1, since the previous sample
	Load1      float64   `json:"load1"`       // load average of 1 minute
	Load5      float64   `json:"load5"`       // load average of 5 minutes
	Load15     float64   `json:"load15"`      // load average of 15 minutes
	MemoryUsed uint64    `json:"memory_used"` // bytes
	DiskUsed   uint64    `json:"disk_used"`   // bytes
}

// A NodeQuery selects nodes for [App.Nodes]. A zero field does not restrict.
type NodeQuery struct {
	ID, Host, IP, OS string
	Gone             bool // also nodes on which no App is running now; they are kept for a week
	Sort             NodeSort
	Limit            int    // nodes on a page: 1 to 1000; 0 means 100
	Cursor           string // the Cursor of the previous page, in the same order; "" for the first page

	// Skip is the number of nodes to skip after the cursor. If others are added or removed meanwhile, some may be missed
	// or returned twice.
	//
	// Deprecated: use Cursor.
	Skip int
}

// A NodeSort is an order of nodes; ids break ties.
type NodeSort string

// The orders of nodes.
const (
	NodesByID     NodeSort = ""
	NodesByCPU    NodeSort = "cpu"    // busiest first
	NodesByMemory NodeSort = "memory" // largest share in use first
	NodesByDisk   NodeSort = "disk"   // largest share in use first
	NodesByLoad   NodeSort = "load"   // highest Load1 per CPU first
)

// A NodePage is one page of nodes.
type NodePage struct {
	Nodes  []Node `json:"nodes"`
	Total  int    `json:"total"`            // number of nodes on all pages
	Cursor string `json:"cursor,omitempty"` // for NodeQuery.Cursor, to get the next page; "" on the last page
}

// NodeFacts sets the function that describes the App's machine. A field of the Node that it leaves zero is unknown,
// except that ID, Host, OS, Arch and CPUs have defaults. IPs, Time and Instances are ignored. describe is called every
// 20 s, by one goroutine at a time. It must return the same ID and Host each time.
//
// By default the App reads /proc on Linux, and on other systems reports only ID, Host, OS, Arch and CPUs. The options
// of auto.Options report all fields on every system.
func NodeFacts(describe func(context.Context) Node) AppOption {
	return func(s *settings) { s.nodeFacts = describe }
}

// describeNode returns the description of the machine.
func (s *settings) describeNode(ctx context.Context) presence.Node {
	if s.nodeFacts == nil {
		return presence.Describe(ctx, machine.Local)
	}
	n, f := s.nodeFacts(ctx), machine.Local.Describe(ctx)
	return presence.Node{
		ID: cmp.Or(n.ID, f.ID), Host: cmp.Or(n.Host, f.Host), OS: cmp.Or(n.OS, f.OS), Platform: n.Platform,
		PlatformVersion: n.PlatformVersion, Kernel: n.Kernel, Arch: cmp.Or(n.Arch, f.Arch), CPUs: cmp.Or(n.CPUs, f.CPUs),
		CPUModel: n.CPUModel, MemoryTotal: n.MemoryTotal, DiskTotal: n.DiskTotal, Sample: presence.Sample(n.NodeSample),
	}
}

// publicNode converts a node of package presence.
func publicNode(n presence.Node) *Node {
	return &Node{
		ID: n.ID, Host: n.Host, IPs: n.IPs, OS: n.OS, Platform: n.Platform, PlatformVersion: n.PlatformVersion,
		Kernel: n.Kernel, Arch: n.Arch, CPUs: n.CPUs, CPUModel: n.CPUModel, MemoryTotal: n.MemoryTotal,
		DiskTotal: n.DiskTotal, NodeSample: NodeSample(n.Sample),
	}
}

// Nodes returns a page of the machines that match q and on which Apps are running, each as it was at most 20 s ago. If
// the coordinator or the store is unavailable, it returns [ErrUnavailable].
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
		if !ok { // not reported yet
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
		if registry.Matches(q.ID, id) && registry.Matches(q.Host, n.Host) && registry.Matches(q.OS, n.OS) &&
			(q.IP == "" || slices.Contains(n.IPs, q.IP)) && (q.Gone || len(n.Instances) > 0) {
			slices.Sort(n.Instances)
			slices.Sort(n.IPs)
			found = append(found, *n)
		}
	}
	cut := pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor, Skip: q.Skip}
	page := NodePage{Total: len(found)}
	key := map[NodeSort]func(Node) string{
		NodesByID:     func(n Node) string { return n.ID },
		NodesByCPU:    func(n Node) string { return pages.Most(n.CPU) + n.ID },
		NodesByMemory: func(n Node) string { return pages.Most(float64(n.MemoryUsed)/float64(max(n.MemoryTotal, 1))) + n.ID },
		NodesByDisk:   func(n Node) string { return pages.Most(float64(n.DiskUsed)/float64(max(n.DiskTotal, 1))) + n.ID },
		NodesByLoad:   func(n Node) string { return pages.Most(n.Load1/float64(max(n.CPUs, 1))) + n.ID },
	}[q.Sort]
	page.Nodes, page.Cursor, err = pages.Of(found, cut, key)
	return page, err
}

// NodeHistory returns the load of a node in the last three hours, oldest first, with about one sample a minute. If the
// node is unknown, it returns [ErrNotFound].
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
