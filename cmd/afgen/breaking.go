package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
)

const longBreaking = `Breaking compares the code with an older contract and says what breaks those who rely on that: running
processes of older code, tasks that are still queued, and Go code that is rebuilt.

What to compare with is af.contract.json as it was: a file of one or several contracts, a folder, or with
git:REF what the repository has at a commit, a branch or a tag. Of several, those of the named packages count.

A finding that is meant is allowed at the type or method that it is about, by a comment

	//af:allow RULE reason

or, where nothing is left to write it at, by -allow RULE=NAME, NAME being the service, the method
(service.Method) or the queue.`

// breakingFlags are those of afgen breaking.
type breakingFlags struct {
	against string
	allow   []string
}

func (c *command) breakingCommand() *cobra.Command {
	var flags breakingFlags
	cmd := &cobra.Command{
		Use: "breaking -against FILE|FOLDER|git:REF [packages]", Short: "Say what breaks those who rely on an older contract",
		Long: longBreaking, Example: "  afgen breaking -against git:main ./...", Args: cobra.ArbitraryArgs, ValidArgsFunction: completePackages,
		RunE: func(cmd *cobra.Command, patterns []string) error { return c.breaking(cmd, patterns, flags) },
	}
	cmd.Flags().StringVar(&flags.against, "against", "", "what to compare with: a `file`, a folder, or git:REF")
	cmd.Flags().StringArrayVar(&flags.allow, "allow", nil, "`RULE=NAME` to pass over; repeatable")
	_ = cmd.RegisterFlagCompletionFunc("allow", completeAllow) // it fails for flags that don't exist
	return cmd
}

// A finding is what afgen breaking -json prints one of.
type finding struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"` // error, or warning
	Breaks   string `json:"breaks"`   // callers, tasks or source
	Kind     string `json:"kind"`     // service or worker
	Name     string `json:"name"`
	Method   string `json:"method"`
	Package  string `json:"package"`
	Message  string `json:"message"`
	Why      string `json:"why"`
	Allowed  string `json:"allowed"` // the reason, if it is
	File     string `json:"file"`    // where to look, if anything is left there
	Line     int    `json:"line"`
	Column   int    `json:"column"`
}

// A comparison is what it prints.
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
		fmt.Fprintf(c.stderr, "afgen: %s has no contract of %s: nothing to compare with\n", flags.against, patternsText(patterns))
	}
	return nil
}

// parseAllow reads -allow: rules by the name that they are passed over at.
func parseAllow(flags []string) (map[string]string, error) {
	allow := map[string]string{}
	for _, f := range flags {
		rule, name, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("-allow %s: write RULE=NAME", f)
		}
		if _, ok := contract.LookupRule(rule); !ok {
			near, _ := diag.Suggest(rule, contract.RuleIDs())
			return nil, fmt.Errorf("-allow %s: there is no rule %s; did you mean %s?", f, rule, near)
		}
		allow[name+" "+rule] = "-allow " + f
	}
	return allow, nil
}

// compared makes what is printed of a comparison, and sets the exit code.
func (c *command) compared(from *gen.Comparison, allow map[string]string) comparison {
	out := comparison{Findings: []finding{}, UnusedAllows: []unusedAllow{}}
	for _, f := range from.Report.Findings {
		rule, _ := contract.LookupRule(f.Rule)
		at := from.Place(f.Package, f.Symbol)
		one := finding{Rule: f.Rule, Severity: "error", Breaks: string(rule.Breaks), Kind: f.Kind, Name: f.Name, Method: f.Method,
			Package: f.Package, Message: f.Message, Why: f.Why, Allowed: f.Allowed, Line: at.Line, Column: at.Column}
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
		out.UnusedAllows = append(out.UnusedAllows, unusedAllow{n.Rule, n.Package, n.Symbol, relativePath(at.File), at.Line, at.Column})
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
		fmt.Fprintf(c.stdout, "%s:%d:%d: warning: //af:allow %s at %s allows nothing: remove it\n", n.File, n.Line, n.Column, n.Rule, n.Symbol)
	}
	if errors > 0 {
		fmt.Fprintf(c.stderr, "afgen: %s; one that is meant is allowed by //af:allow RULE reason", count(errors, "breaking change"))
		if passed > 0 {
			fmt.Fprintf(c.stderr, " (%d allowed)", passed)
		}
		fmt.Fprintln(c.stderr)
	}
}
