package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

func (c *invocation) instancesCommand() *cobra.Command {
	var q af.InstanceQuery
	var limit int
	cmd := &cobra.Command{
		Use: "instances", Short: "List running instances", Args: cobra.NoArgs,
		Long: `Instances lists the running programs of the system: where they run, since when, and what they serve.

STATE shows whether an instance is shutting down (draining), or can't reach something (degraded);
then lines below the table tell what. An instance whose process died disappears within seconds.`,
		Example: `  af instances
  af instances -queue resize          those with the worker of a queue
  af instances -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			var all af.InstancePage
			var more bool
			all.Instances, more, err = collect(limit, func(n int, cursor string) ([]af.InstanceInfo, string, error) {
				q.Limit, q.Cursor = n, cursor
				page, err := api.Instances(cmd.Context(), q)
				all.Total = page.Total
				return page.Instances, page.Cursor, err
			})
			if err != nil {
				return err
			}
			err = c.printList(listResult{all, len(all.Instances), all.Total, more,
				"no instance is running: start a program that opens this system"}, c.instanceTable(all.Instances))
			if err == nil && c.output == "table" {
				err = c.printDegraded(all.Instances)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Queue, "queue", "", "only instances with the worker of this `queue`")
	f.StringVar(&q.Service, "service", "", "only instances that serve this `service`")
	f.StringVar(&q.Node, "node", "", "only instances on this `node`")
	addLimit(cmd, &limit, listLimit)
	return cmd
}

// instanceTable returns the table of af instances.
func (c *invocation) instanceTable(instances []af.InstanceInfo) *text.Table {
	t := c.table(
		text.Column{Title: "INSTANCE"}, text.Column{Title: "IP"}, text.Column{Title: "VERSION", Cut: true},
		text.Column{Title: "UP", Right: true}, text.Column{Title: "STARTED", Wide: true},
		text.Column{Title: "HOST", Wide: true}, text.Column{Title: "PID", Right: true, Wide: true},
		text.Column{Title: "NODE", Wide: true}, text.Column{Title: "QUEUES", Cut: true},
		text.Column{Title: "SERVICES", Cut: true}, text.Column{Title: "STATE"},
	)
	for i := range instances {
		n := &instances[i]
		state := text.Cell{}
		switch {
		case len(n.Degraded) > 0:
			state = text.Cell{Text: "degraded", Style: text.Red}
			if c.output == "wide" {
				state.Text += ": " + strings.Join(n.Degraded, "; ")
			}
		case n.Draining:
			state = text.Cell{Text: "draining", Style: text.Yellow}
		}
		t.Add(text.Of(n.ID), text.Of(n.IP), text.Of(n.Version), text.Of(text.Since(n.Started, c.Now())),
			text.Of(text.Time(n.Started)), text.Of(n.Host), text.Of(fmt.Sprint(n.PID)), text.Of(n.Node),
			text.Of(strings.Join(n.Queues, ",")), text.Of(strings.Join(n.Services, ",")), state)
	}
	return t
}

// printDegraded prints what instances can't reach.
func (c *invocation) printDegraded(instances []af.InstanceInfo) error {
	for i := range instances {
		for _, what := range instances[i].Degraded {
			p := text.Printer{Color: c.Out.Color}
			line := text.Line(&p, text.Of(instances[i].ID), text.Cell{Text: what, Style: text.Red})
			if _, err := fmt.Fprintln(&c.Out, line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *invocation) nodesCommand() *cobra.Command {
	var q af.NodeQuery
	var limit int
	cmd := &cobra.Command{
		Use: "nodes", Short: "List machines with their load", Args: cobra.NoArgs,
		Long: `Nodes lists the machines on which instances run, with their load as it was at most 20 s ago.

In a container, memory, CPUs and load are those of the host. What a machine does not report is "-".`,
		Example: `  af nodes
  af nodes -gone                      also machines without an instance, of the last week`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			var all af.NodePage
			var more bool
			all.Nodes, more, err = collect(limit, func(n int, cursor string) ([]af.Node, string, error) {
				q.Limit, q.Cursor = n, cursor
				page, err := api.Nodes(cmd.Context(), q)
				all.Total = page.Total
				return page.Nodes, page.Cursor, err
			})
			if err != nil {
				return err
			}
			return c.printList(listResult{all, len(all.Nodes), all.Total, more,
				"no instance is running; -gone lists the machines of the last week"}, c.nodeTable(all.Nodes))
		},
	}
	cmd.Flags().BoolVar(&q.Gone, "gone", false, "also machines without an instance")
	addLimit(cmd, &limit, listLimit)
	return cmd
}

// nodeTable returns the table of af nodes.
func (c *invocation) nodeTable(nodes []af.Node) *text.Table {
	t := c.table(
		text.Column{Title: "NODE"}, text.Column{Title: "IP", Cut: true}, text.Column{Title: "SYSTEM", Cut: true},
		text.Column{Title: "CPUS", Right: true}, text.Column{Title: "CPU", Right: true},
		text.Column{Title: "LOAD", Right: true}, text.Column{Title: "MEMORY", Right: true},
		text.Column{Title: "DISK", Right: true}, text.Column{Title: "INSTANCES", Right: true},
		text.Column{Title: "KERNEL", Wide: true}, text.Column{Title: "SEEN", Wide: true},
	)
	for i := range nodes {
		n := &nodes[i]
		instances := text.Of(text.Number(int64(len(n.Instances))))
		if len(n.Instances) == 0 {
			instances = text.Cell{Text: "gone", Style: text.Yellow}
		}
		known := func(ok bool, s string) text.Cell {
			if !ok {
				s = "-"
			}
			return text.Of(s)
		}
		reported := !n.Time.IsZero()
		t.Add(text.Of(n.ID), text.Of(strings.Join(n.IPs, ",")), text.Of(strings.Trim(n.OS+"/"+n.Arch, "/")),
			known(n.CPUs > 0, fmt.Sprint(n.CPUs)), known(reported && n.MemoryTotal > 0, fmt.Sprintf("%.0f%%", n.CPU*100)),
			known(reported && n.MemoryTotal > 0, fmt.Sprintf("%.2f", n.Load1)), c.share(n.MemoryUsed, n.MemoryTotal),
			c.share(n.DiskUsed, n.DiskTotal), instances, text.Of(n.Kernel), text.Of(text.Time(n.Time)))
	}
	return t
}

// share returns how much of a resource is used, such as 45 %, with -o wide also of how much; in red from 95 % on.
func (c *invocation) share(used, total uint64) text.Cell {
	if total == 0 {
		return text.Of("-")
	}
	part := float64(used) / float64(total)
	cell := text.Of(fmt.Sprintf("%.0f%%", part*100))
	if c.output == "wide" {
		cell.Text += " of " + text.Bytes(total)
	}
	if part >= 0.95 {
		cell.Style = text.Red
	}
	return cell
}
