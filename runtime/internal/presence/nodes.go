// Package presence stores what an App publishes about itself and its machine.
//
// [Nodes] keeps two documents per machine: the latest report and the history of its load. Of several Apps on a
// machine, one reports at a time. An App that finds a new report of another App skips its own, so no clocks are
// compared. When an App ends, another takes over.
//
// [Contracts] keeps the signatures of services: one document per contract, shared by all instances. [StoreQueues]
// keeps the names of queues that have or had a worker.
package presence

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/machine"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Node is the report of a machine. Its JSON is stored.
type Node struct {
	ID              string   `json:"id"`
	Host            string   `json:"host"`
	IPs             []string `json:"ips"`
	OS              string   `json:"os"`
	Platform        string   `json:"platform"`
	PlatformVersion string   `json:"platform_version,omitempty"`
	Kernel          string   `json:"kernel"`
	Arch            string   `json:"arch"`
	CPUs            int      `json:"cpus"`
	CPUModel        string   `json:"cpu_model,omitempty"`
	MemoryTotal     uint64   `json:"memory_total"`
	DiskTotal       uint64   `json:"disk_total"`
	Sample
}

// A Sample is the load of a machine at one time. Its JSON is stored.
type Sample struct {
	Time       time.Time `json:"time"`
	CPU        float64   `json:"cpu"`
	Load1      float64   `json:"load1"`
	Load5      float64   `json:"load5"`
	Load15     float64   `json:"load15"`
	MemoryUsed uint64    `json:"memory_used"`
	DiskUsed   uint64    `json:"disk_used"`
}

// Describe returns the report of m without addresses and time.
func Describe(ctx context.Context, m *machine.Machine) Node {
	f, u := m.Describe(ctx), m.Measure(ctx)
	return Node{
		ID: f.ID, Host: f.Host, OS: f.OS, Platform: f.Platform, PlatformVersion: f.Version, Kernel: f.Kernel, Arch: f.Arch,
		CPUs: f.CPUs, CPUModel: f.CPUModel, MemoryTotal: u.MemoryTotal, DiskTotal: u.DiskTotal,
		Sample: Sample{CPU: u.CPU, Load1: u.Load1, Load5: u.Load5, Load15: u.Load15,
			MemoryUsed: u.MemoryUsed, DiskUsed: u.DiskUsed},
	}
}

const (
	nodesPrefix   = "machines/"        // of documents with the latest report
	historyPrefix = "machine-history/" // of documents
	reportEvery   = 20 * time.Second
	sampleEvery   = 3   // in reports
	historyLength = 180 // in samples: three hours
	tidyEvery     = 30  // in reports of this App
	goneFor       = 7 * 24 * time.Hour
)

// NodesConfig configures Nodes.
type NodesConfig struct {
	Docs     backend.Docs // if nil, nothing is stored
	Log      *slog.Logger
	Describe func(context.Context) Node // returns the machine without addresses and time
}

// Nodes reports this machine and reads the reports of all machines. Its methods, except Run, are safe for concurrent
// use.
type Nodes struct {
	NodesConfig

	once     sync.Once
	id, host string

	// Only Run uses these.
	seen    int64 // revision of the last report
	reports int   // of this App
}

// A report is the document of a node.
type report struct {
	Node
	Count int `json:"count"` // of reports
}

// NewNodes returns a Nodes. It reports once Run is called.
func NewNodes(c NodesConfig) *Nodes { return &Nodes{NodesConfig: c} }

// Self returns this machine's id and name.
func (n *Nodes) Self(ctx context.Context) (id, host string) {
	n.once.Do(func() {
		self := n.Describe(ctx)
		n.id, n.host = self.ID, self.Host
	})
	return n.id, n.host
}

// Run reports until ctx ends.
func (n *Nodes) Run(ctx context.Context) {
	if n.Docs == nil {
		return
	}
	for {
		wait := reportEvery
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		if err := n.report(opCtx); err != nil && ctx.Err() == nil {
			n.Log.Debug("storing the node report failed", "error", err)
			wait = retry.MaxPoll
		}
		cancel()
		if !retry.Sleep(ctx, retry.Jitter(wait)) {
			return
		}
	}
}

// report stores the machine's state, unless another App just did.
func (n *Nodes) report(ctx context.Context) error {
	id, host := n.Self(ctx)
	name := nodesPrefix + id
	doc, err := n.Docs.Get(ctx, name)
	var r report
	switch {
	case backend.CodeOf(err) == backend.ErrNotFound:
	case err != nil:
		return err
	case n.reports > 0 && doc.Revision != n.seen:
		n.seen = doc.Revision
		return nil
	default:
		_ = json.Unmarshal(doc.Value, &r) // only for the count
	}
	r.Node, r.Count = n.Describe(ctx), r.Count+1
	r.ID, r.Host, r.IPs, r.Time = id, host, localIPs(), time.Now().UTC().Round(time.Millisecond)
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	n.reports++
	if n.seen, err = n.Docs.PutIf(ctx, name, doc.Revision, value); err != nil {
		return unlessAborted(err) // another App reported first
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

// unlessAborted returns err, or nil if another process has written the document first.
func unlessAborted(err error) error {
	if backend.CodeOf(err) == backend.ErrAborted {
		return nil
	}
	return err
}

// maxIPs bounds the addresses in a report: a machine with containers may have very many.
const maxIPs = 32

// localIPs returns the addresses of the interfaces, without loopback and link-local ones.
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
func (n *Nodes) remember(ctx context.Context, node Node) error {
	name := historyPrefix + node.ID
	doc, err := n.Docs.Get(ctx, name)
	if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
		return err
	}
	var samples []Sample
	_ = json.Unmarshal(doc.Value, &samples) // an unreadable history starts over
	samples = append(samples, node.Sample)
	value, err := json.Marshal(samples[max(len(samples)-historyLength, 0):])
	if err == nil {
		_, err = n.Docs.PutIf(ctx, name, doc.Revision, value)
	}
	return unlessAborted(err)
}

// All returns all stored nodes by id.
func (n *Nodes) All(ctx context.Context) (map[string]Node, error) {
	all := map[string]Node{}
	if n.Docs == nil {
		return all, nil
	}
	docs, err := n.Docs.List(ctx, nodesPrefix)
	if err != nil {
		return nil, backend.AsError(err)
	}
	for _, doc := range docs {
		var r report
		if err := json.Unmarshal(doc.Value, &r); err != nil {
			n.Log.Debug("decoding a node failed", "document", doc.Name, "error", err)
			continue
		}
		all[r.ID] = r.Node
	}
	return all, nil
}

// History returns the samples of a node, oldest first. It returns ErrNotFound if the node has never reported or its
// documents have been deleted.
func (n *Nodes) History(ctx context.Context, id string) ([]Sample, error) {
	doc, err := n.Docs.Get(ctx, historyPrefix+id)
	if backend.CodeOf(err) == backend.ErrNotFound {
		if _, err = n.Docs.Get(ctx, nodesPrefix+id); err == nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, backend.AsError(err)
	}
	var samples []Sample
	if err := json.Unmarshal(doc.Value, &samples); err != nil {
		return nil, backend.Errorf(backend.ErrDataLoss, "decoding document %q: %w", doc.Name, err)
	}
	return samples, nil
}

// tidy deletes the documents of nodes that have not reported for long. It compares the machines' clocks, which is
// harmless: a node that is deleted too early reports again.
func (n *Nodes) tidy(ctx context.Context) error {
	docs, err := n.Docs.List(ctx, nodesPrefix)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		var r report
		if json.Unmarshal(doc.Value, &r) == nil && time.Since(r.Time) < goneFor {
			continue
		}
		// The history goes first: only with the report is it found again if that fails.
		history, err := n.Docs.Get(ctx, historyPrefix+strings.TrimPrefix(doc.Name, nodesPrefix))
		if err == nil {
			err = unlessAborted(n.Docs.Delete(ctx, history.Name, history.Revision))
		}
		if err == nil || backend.CodeOf(err) == backend.ErrNotFound {
			err = unlessAborted(n.Docs.Delete(ctx, doc.Name, doc.Revision))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
