package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/internal/suggest"
)

const longBreaking = `Breaking compares the code with older contracts. It reports changes that break running
processes of older code, queued tasks, or Go code that is rebuilt.

The flag -against names the older af.contract.json: a file with one or more contracts, a directory, or
git:REF for the files in the repository at a commit, branch or tag. Only contracts of the named packages
are compared.

To allow an intended change, add a comment to its type or method:

	//af:allow RULE reason

If the declaration is gone, use -allow RULE=NAME. NAME is a service, a method (service.Method) or a queue.`

// breakingFlags are the flags of afgen breaking.
type breakingFlags struct {
	against string
	allow   []string
}

func (c *command) breakingCommand() *cobra.Command {
	var flags breakingFlags
	cmd := &cobra.Command{
		Use: "breaking -against FILE|DIR|git:REF [packages]", Short: "Report changes that break older code or queued tasks",
		Long: longBreaking, Example: "  afgen breaking -against git:main ./...",
		Args: cobra.ArbitraryArgs, ValidArgsFunction: completePackages,
		RunE: func(cmd *cobra.Command, patterns []string) error { return c.breaking(cmd, patterns, flags) },
	}
	cmd.Flags().StringVar(&flags.against, "against", "", "the older contracts: a `file`, a directory or git:REF")
	cmd.Flags().StringArrayVar(&flags.allow, "allow", nil, "allow `RULE=NAME`; repeatable")
	_ = cmd.RegisterFlagCompletionFunc("allow", completeAllow) // fails only for unknown flags
	return cmd
}

// A finding is an element of the output of afgen breaking -json.
type finding struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"` // error or warning
	Breaks   string `json:"breaks"`   // callers, tasks or source
	Kind     string `json:"kind"`     // service or worker
	Name     string `json:"name"`
	Method   string `json:"method"`
	Package  string `json:"package"`
	Message  string `json:"message"`
	Why      string `json:"why"`
	Allowed  string `json:"allowed"` // the reason of //af:allow, or the flag
	File     string `json:"file"`    // "" if the declaration is gone
	Line     int    `json:"line"`
	Column   int    `json:"column"`
}

// A comparison is the output of afgen breaking -json.
type comparison struct {
	Findings     []finding     `json:"findings"`
	UnusedAllows []unusedAllow `json:"needless"`
}

type unusedAllow struct {
	Rule    string `json:"rule"`
	Package string `json:"package"`
	Symbol  string `json:"symbol"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
}

func (c *command) breaking(cmd *cobra.Command, patterns []string, flags breakingFlags) error {
	if flags.against == "" {
		return errors.New("afgen breaking needs -against FILE or -against git:REF")
	}
	allow, err := parseAllow(flags.allow)
	if err != nil {
		return err
	}
	plan, err := c.plan(cmd.Context(), patterns)
	if plan == nil || err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	compared, err := plan.Breaking(cmd.Context(), dir, flags.against)
	if err != nil {
		return err
	}
	out := c.compared(compared, allow)
	if c.json {
		return c.printJSON(out)
	}
	c.printBreaking(out)
	if compared.Contracts == 0 {
		fmt.Fprintf(c.stderr, "afgen: %s has no contract for %s, nothing was compared\n",
			flags.against, patternsText(patterns))
	}
	return nil
}

// parseAllow parses the values of -allow. The keys of the result are a name and a rule.
func parseAllow(flags []string) (map[string]string, error) {
	allow := map[string]string{}
	for _, f := range flags {
		rule, name, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("-allow %s: write RULE=NAME", f)
		}
		if _, ok := contract.LookupRule(rule); !ok {
			near, _ := suggest.Nearest(rule, contract.RuleIDs())
			return nil, fmt.Errorf("-allow %s: unknown rule %s; did you mean %s?", f, rule, near)
		}
		allow[name+" "+rule] = "-allow " + f
	}
	return allow, nil
}

// compared converts a comparison for output, and sets the exit code.
func (c *command) compared(from *gen.Comparison, allow map[string]string) comparison {
	out := comparison{Findings: []finding{}, UnusedAllows: []unusedAllow{}}
	for _, f := range from.Report.Findings {
		rule, _ := contract.LookupRule(f.Rule)
		at := from.Place(f.Package, f.Symbol)
		one := finding{
			Rule: f.Rule, Severity: "error", Breaks: string(rule.Breaks), Kind: f.Kind, Name: f.Name, Method: f.Method,
			Package: f.Package, Message: f.Message, Why: f.Why, Allowed: f.Allowed, Line: at.Line, Column: at.Column,
		}
		if at.File != "" {
			one.File = relativePath(at.File)
		}
		if f.Warning {
			one.Severity = "warning"
		}
		name := f.Name
		if f.Method != "" {
			name += "." + f.Method
		}
		if one.Allowed == "" {
			one.Allowed = allow[name+" "+f.Rule]
		}
		if one.Allowed == "" && !f.Warning {
			c.code = exitFindings
		}
		out.Findings = append(out.Findings, one)
	}
	for _, n := range from.Report.UnusedAllows {
		at := from.Place(n.Package, n.Symbol)
		out.UnusedAllows = append(out.UnusedAllows, unusedAllow{
			n.Rule, n.Package, n.Symbol, relativePath(at.File), at.Line, at.Column,
		})
	}
	return out
}

func (c *command) printBreaking(out comparison) {
	errors, passed := 0, 0
	for _, f := range out.Findings {
		if f.Allowed != "" {
			passed++
			continue
		}
		place := f.Package
		if f.File != "" {
			place = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
		}
		severity := ""
		if f.Severity == "warning" {
			severity = "warning: "
		} else {
			errors++
		}
		fmt.Fprintf(c.stdout, "%s: %s: %s%s\n  breaks %s: %s\n", place, f.Rule, severity, f.Message, f.Breaks, f.Why)
	}
	for _, n := range out.UnusedAllows {
		fmt.Fprintf(c.stdout, "%s:%d:%d: warning: //af:allow %s on %s is unused: remove it\n",
			n.File, n.Line, n.Column, n.Rule, n.Symbol)
	}
	if errors > 0 {
		fmt.Fprintf(c.stderr, "afgen: %s; allow intended changes with //af:allow RULE reason",
			count(errors, "breaking change"))
		if passed > 0 {
			fmt.Fprintf(c.stderr, " (%d allowed)", passed)
		}
		fmt.Fprintln(c.stderr)
	}
}
