package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/ir"
	"github.com/afgen/afgen/gen/scan"
	"github.com/afgen/afgen/runtime/cron"
)

// A listing is the output of afgen list -json.
type listing struct {
	Packages []*ir.Package  `json:"packages"`
	Skipped  []scan.Skipped `json:"skipped"`
	// Next has the next due times of each job, by id. For @every they are counted from now.
	Next map[string][]time.Time `json:"next,omitempty"`
}

// fires is the number of due times to print for each job.
const fires = 3

// next returns the next due times of a job.
func (c *command) next(j ir.Job) ([]time.Time, error) {
	zone, err := cron.Zone(j.Zone)
	if err != nil {
		return nil, err
	}
	table, err := cron.Parse(j.Cron, zone)
	if err != nil {
		return nil, err
	}
	at := c.now()
	table = table.From(at)
	var due []time.Time
	for len(due) < fires {
		if at = table.Next(at); at.IsZero() {
			break
		}
		due = append(due, at.In(zone))
	}
	return due, nil
}

// nextText formats the next due times.
func nextText(j ir.Job, due []time.Time) string {
	text := make([]string, len(due))
	for i, t := range due {
		text[i] = t.Format("2006-01-02 15:04:05 MST")
	}
	what := "next "
	if strings.HasPrefix(j.Cron, "@every") {
		what = "from now on " // actually from the time when the job is stored
	}
	return what + strings.Join(text, ", ")
}

func jobOptions(j ir.Job) string {
	o := fmt.Sprintf("tz=%s missed=%s overlap=%s", j.Zone, j.Missed, j.Overlap)
	if len(j.Allow) > 0 {
		o += " allow=" + strings.Join(j.Allow, ",")
	}
	return o
}

func (c *command) list(cmd *cobra.Command, patterns []string) error {
	plan, err := c.plan(cmd.Context(), patterns)
	if plan == nil || err != nil {
		return err
	}
	if c.json {
		return c.listJSON(plan)
	}
	return c.listText(plan, patterns)
}

// listJSON prints a listing.
func (c *command) listJSON(plan *gen.Plan) (err error) {
	l := listing{Packages: plan.IR(), Skipped: plan.Skipped}
	if l.Packages == nil {
		l.Packages = []*ir.Package{}
	}
	if l.Skipped == nil {
		l.Skipped = []scan.Skipped{}
	}
	for _, p := range l.Packages {
		for _, w := range p.Workers {
			for _, j := range w.Jobs {
				if l.Next == nil {
					l.Next = map[string][]time.Time{}
				}
				if l.Next[j.ID], err = c.next(j); err != nil {
					return err
				}
			}
		}
	}
	for i := range l.Skipped {
		l.Skipped[i].File = relativePath(l.Skipped[i].File)
	}
	return c.printJSON(l)
}

// listText prints a listing as text.
func (c *command) listText(plan *gen.Plan, patterns []string) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")+"\t") }
	for _, p := range plan.Packages {
		for _, s := range p.IR.Services {
			row("service "+s.Name, p.IR.Path+"."+s.Type, c.ifVerbose(serviceOptions(s)))
			for _, m := range s.Methods {
				row("  "+m.Name, signature(p.IR, m), c.ifVerbose(methodOptions(s, m)))
			}
		}
		for _, w := range p.IR.Workers {
			row("worker "+w.Name, p.IR.Path+"."+w.Type, c.ifVerbose(workerOptions(w)))
			row("  Run", runSignature(p.IR, w), "")
			for _, j := range w.Jobs {
				due, err := c.next(j)
				if err != nil {
					return err
				}
				row("  job "+j.ID, j.Cron+": "+nextText(j, due), c.ifVerbose(jobOptions(j)))
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(c.stdout, strings.TrimRight(line, " \n"))
	}
	if c.verbose {
		for _, s := range plan.Skipped {
			fmt.Fprintf(c.stdout, "not scanned: %s: %s\n", relativePath(s.File), s.Reason)
		}
	}
	if len(plan.Packages) == 0 {
		fmt.Fprintln(c.stderr, "afgen: no annotations found in", patternsText(patterns))
	}
	return nil
}

func (c *command) ifVerbose(s string) string {
	if c.verbose {
		return s
	}
	return ""
}

func serviceOptions(s ir.Service) string {
	return fmt.Sprintf("timeout=%v concurrency=%d", s.Timeout, s.Concurrency) +
		clientOption(s.Client) + constraintOption(s.Constraint)
}

func methodOptions(s ir.Service, m ir.Method) string {
	var o []string
	if m.Timeout != s.Timeout {
		o = append(o, fmt.Sprintf("timeout=%v", m.Timeout))
	}
	if m.Idempotent {
		o = append(o, "idempotent")
	}
	return strings.Join(o, " ")
}

func workerOptions(w ir.Worker) string {
	options := fmt.Sprintf("max=%d timeout=%s retries=%d backoff=%v weight=%d isolation=%s", w.Max,
		timeoutText(w.Timeout), w.Retries, w.Backoff, w.Weight, w.Isolation)
	if w.BackoffMax != 0 {
		options += fmt.Sprintf(" backoff_max=%v", w.BackoffMax)
	}
	if w.MaxCrashes != 0 {
		options += fmt.Sprintf(" max_crashes=%d", w.MaxCrashes)
	}
	return options + clientOption(w.Client) + constraintOption(w.Constraint)
}

func clientOption(client string) string {
	if client == "" {
		return ""
	}
	return " client=" + client
}

// constraintOption returns the build constraint as an option, or "".
func constraintOption(constraint string) string {
	if constraint == "" {
		return ""
	}
	return fmt.Sprintf(" constraint=%q", constraint)
}

func timeoutText(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return d.String()
}

// signature returns a method's parameters and results as Go source.
func signature(p *ir.Package, m ir.Method) string {
	params := fields(p, m.Params)
	if m.Variadic {
		last := &params[len(params)-1]
		*last = strings.Replace(*last, "[]", "...", 1)
	}
	in, out := "("+strings.Join(params, ", ")+") ", fields(p, m.Results)
	if len(out) == 0 {
		return in + "error"
	}
	for i, r := range m.Results {
		out[i] = spell(p, r.Type)
	}
	return in + "(" + strings.Join(append(out, "error"), ", ") + ")"
}

func runSignature(p *ir.Package, w ir.Worker) string {
	if w.Result == nil {
		return "(" + spell(p, w.Payload) + ") error"
	}
	return "(" + spell(p, w.Payload) + ") (" + spell(p, *w.Result) + ", error)"
}

func fields(p *ir.Package, params []ir.Param) []string {
	out := make([]string, len(params))
	for i, q := range params {
		out[i] = strings.TrimSpace(q.Name + " " + spell(p, q.Type))
	}
	return out
}

// spell returns a type as Go source in the package itself.
func spell(p *ir.Package, t ir.Type) string {
	return t.Spell(func(path, name string) string {
		if path == p.Path {
			return name
		}
		return p.Imports[path] + "." + name
	})
}
