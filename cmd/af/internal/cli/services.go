package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

func (c *invocation) servicesCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "services [SERVICE]", Short: "List services, methods and their load", Args: cobra.MaximumNArgs(1),
		Long: `Services lists the services that running instances serve. NOW is the number of calls in flight, CALLS
and ERRORS those since each instance was started.

With the name of a service it shows its methods with their signatures, and the instances that serve
it. An instance that "differs" has other methods or types than the newest one, whose are shown.`,
		Example: `  af services
  af services calc
  af call calc.Add x=1 y=2            call a method`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				page, err := api.Services(cmd.Context(), af.ServiceQuery{Name: args[0], Limit: 1})
				if err != nil {
					return err
				}
				if len(page.Services) == 0 {
					return af.Errorf(af.ErrNotFound, "no running instance serves %q; af services lists the services", args[0])
				}
				return c.printService(&page.Services[0])
			}
			var all af.ServicePage
			var more bool
			all.Services, more, err = collect(limit, func(n int, cursor string) ([]af.ServiceInfo, string, error) {
				page, err := api.Services(cmd.Context(), af.ServiceQuery{Limit: n, Cursor: cursor})
				all.Total = page.Total
				return page.Services, page.Cursor, err
			})
			if err != nil {
				return err
			}
			return c.printList(listResult{all, len(all.Services), all.Total, more, "no running instance serves a service"},
				c.serviceTable(all.Services))
		},
	}
	addLimit(cmd, &limit, listLimit)
	return cmd
}

// serviceTable returns the table of af services.
func (c *invocation) serviceTable(services []af.ServiceInfo) *text.Table {
	t := c.table(
		text.Column{Title: "SERVICE"}, text.Column{Title: "METHODS", Right: true},
		text.Column{Title: "INSTANCES", Right: true}, text.Column{Title: "NOW", Right: true},
		text.Column{Title: "CALLS", Right: true}, text.Column{Title: "ERRORS", Right: true},
		text.Column{Title: "STATE"},
	)
	for i := range services {
		s := &services[i]
		contracts := map[string]bool{}
		draining := 0
		for j := range s.Instances {
			contracts[s.Instances[j].Contract] = true
			if s.Instances[j].Draining {
				draining++
			}
		}
		state := text.Cell{}
		switch {
		case draining == len(s.Instances):
			state = text.Cell{Text: "draining", Style: text.Red}
		case len(contracts) > 1:
			state = text.Cell{Text: fmt.Sprintf("%d contracts", len(contracts)), Style: text.Yellow}
		}
		t.Add(text.Of(s.Name), text.Of(text.Number(int64(len(s.Methods)))), text.Of(text.Number(int64(len(s.Instances)))),
			text.Of(text.Number(s.Load.InFlight)), text.Of(text.Number(s.Load.Calls)),
			text.Of(text.Number(s.Load.Errors)), state)
	}
	return t
}

// printService prints the methods and the instances of a service.
func (c *invocation) printService(s *af.ServiceInfo) error {
	if c.json() {
		return c.printJSON(s)
	}
	if s.Doc != "" {
		if _, err := fmt.Fprintf(&c.Out, "%s\n\n", text.Clean(s.Doc)); err != nil {
			return err
		}
	}
	documented := slices.ContainsFunc(s.Methods, func(m af.MethodInfo) bool { return m.Doc != "" })
	methods := c.table(text.Column{Title: "METHOD"}, text.Column{Title: "SIGNATURE"},
		text.Column{Title: "FINGERPRINT", Wide: true}, text.Column{Title: "REPEATABLE", Wide: true},
		text.Column{Title: "DOC", Cut: true, Wide: !documented})
	for _, m := range s.Methods {
		repeatable := ""
		if m.Idempotent {
			repeatable = "yes"
		}
		methods.Add(text.Of(m.Name), text.Of(m.Signature), text.Of(m.Fingerprint), text.Of(repeatable), text.Of(m.Doc))
	}
	if err := methods.Print(&c.Out); err != nil {
		return err
	}
	instances := c.table(
		text.Column{Title: "INSTANCE"}, text.Column{Title: "IP"}, text.Column{Title: "VERSION", Cut: true},
		text.Column{Title: "UP", Right: true}, text.Column{Title: "CONTRACT", Wide: true},
		text.Column{Title: "AT ONCE", Right: true, Wide: true}, text.Column{Title: "NOW", Right: true},
		text.Column{Title: "CALLS", Right: true}, text.Column{Title: "ERRORS", Right: true}, text.Column{Title: "STATE"},
	)
	newest := &s.Instances[0] // whose methods are shown
	for i := range s.Instances {
		if s.Instances[i].Started.After(newest.Started) {
			newest = &s.Instances[i]
		}
	}
	for i := range s.Instances {
		n := &s.Instances[i]
		state := text.Cell{}
		switch {
		case n.Draining:
			state = text.Cell{Text: "draining", Style: text.Yellow}
		case n.Contract != newest.Contract:
			state = text.Cell{Text: "differs", Style: text.Yellow}
		}
		t := text.Of
		instances.Add(t(n.ID), t(n.IP), t(n.Version), t(text.Since(n.Started, c.Now())), t(n.Contract),
			t(text.Number(int64(n.Concurrency))), t(text.Number(n.Load.InFlight)), t(text.Number(n.Load.Calls)),
			t(text.Number(n.Load.Errors)), state)
	}
	if _, err := fmt.Fprintln(&c.Out); err != nil {
		return err
	}
	return instances.Print(&c.Out)
}
