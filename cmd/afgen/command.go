package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/gen/manifest"
	"github.com/afgen/afgen/gen/scan"
	"github.com/afgen/afgen/internal/buildversion"
	"github.com/afgen/afgen/internal/suggest"
)

// Exit codes.
const (
	exitFindings = 1
	exitFailure  = 2 // wrong usage, or packages that can't be loaded
)

// A command is one invocation.
type command struct {
	stdout, stderr io.Writer
	code           int
	options        gen.Options
	json, verbose  bool
	now            func() time.Time
}

const long = `Afgen generates code for Go structs annotated with //af:rpc and //af:worker. In the directory of
each annotated package it writes af_gen.go (typed clients, dispatch tables, registration) and
af.contract.json.

Packages are named as for the go command; the default is the package in the current directory. Add this
line to one of your files and run go generate:

	//go:generate go tool afgen ./...

To create a new project without installing afgen:

	go run github.com/afgen/afgen/cmd/afgen@latest init shop

Exit codes: 0 success, 1 problems or differences found, 2 wrong usage or packages that can't be loaded.`

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "afgen [packages]",
		Short:         "Generate typed clients, dispatch and registration from annotated Go structs",
		Long:          long,
		Example:       "  afgen ./...\n  afgen check ./...\n  afgen explain AF0302",
		Args:          cobra.ArbitraryArgs,
		RunE:          c.generate,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&c.options.Tags, "tags", "", "build `tags`, separated by commas")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON")
	generate := &cobra.Command{
		Use: "generate [packages]", Short: "Write missing and stale files, remove orphaned files (the default)",
		Args: cobra.ArbitraryArgs, RunE: c.generate, ValidArgsFunction: completePackages,
	}
	check := &cobra.Command{
		Use: "check [packages]", Short: "Report what generate would change, with a diff, without changing files",
		Args: cobra.ArbitraryArgs, RunE: c.check, ValidArgsFunction: completePackages,
	}
	list := &cobra.Command{
		Use: "list [packages]", Short: "List services, methods, workers and the next due times of jobs",
		Args: cobra.ArbitraryArgs, RunE: c.list, ValidArgsFunction: completePackages,
	}
	list.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "show options, and annotated files that are not scanned")
	explain := &cobra.Command{
		Use: "explain [CODE|RULE]", Short: "Explain a diagnostic or a rule of breaking; without arguments, list them",
		Args: cobra.ArbitraryArgs, RunE: c.explain, ValidArgsFunction: completeExplain,
	}
	version := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(c.stdout, buildversion.Line("afgen")) },
	}
	directives := &cobra.Command{
		Use: "directives", Short: "List the //af: directives and their keys", Long: directive.Help(),
	}
	root.SetHelpCommand(&cobra.Command{
		Use: "help [command]", Short: "Print help for a command or the directives",
		RunE: func(help *cobra.Command, args []string) error {
			about, _, err := root.Find(args)
			if err == nil && about == root && len(args) > 0 { // root accepts any arguments as packages
				err = suggestCommand(args)
				if err == nil {
					err = fmt.Errorf("unknown command %q; run afgen help for a list", args[0])
				}
			}
			if err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	})
	root.AddCommand(c.initCommand(), generate, check, c.breakingCommand(), list, explain, version, directives)
	return root
}

// reportFailure prints an error and returns the exit code.
func (c *command) reportFailure(err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(c.stderr, "afgen: %s\n", strings.TrimRight(line, "\n"))
	}
	return exitFailure
}

// plan scans the packages. If there are problems, it prints them and returns nil.
func (c *command) plan(ctx context.Context, patterns []string) (*gen.Plan, error) {
	if err := suggestCommand(patterns); err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	plan, err := gen.Generate(ctx, dir, patterns, c.options)
	if err != nil {
		return nil, errors.Join(append([]error{err}, directoryHints(patterns)...)...)
	}
	if len(plan.Diagnostics) == 0 {
		return plan, nil
	}
	c.code = exitFindings
	if c.json {
		return nil, diag.JSON(c.stdout, plan.Diagnostics, dir)
	}
	if err := diag.Render(c.stderr, plan.Diagnostics, plan.Source, dir); err != nil {
		return nil, err
	}
	fmt.Fprintf(c.stderr, "afgen: %s; nothing was written\n", count(len(plan.Diagnostics), "problem"))
	return nil, nil
}

// printWarnings prints the warnings, which don't affect the exit code.
func (c *command) printWarnings(plan *gen.Plan) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if c.json {
		return diag.JSON(c.stdout, plan.Warnings, dir)
	}
	return diag.Render(c.stderr, plan.Warnings, plan.Source, dir)
}

// directoryHints returns hints for patterns that are import paths but name existing directories.
func directoryHints(patterns []string) (hints []error) {
	for _, p := range patterns {
		if strings.HasPrefix(p, ".") || filepath.IsAbs(p) {
			continue
		}
		if info, err := os.Stat(strings.TrimSuffix(p, "...")); err == nil && info.IsDir() {
			hints = append(hints, fmt.Errorf("%s is an import path; the directory is ./%[1]s", filepath.ToSlash(p)))
		}
	}
	return hints
}

// suggestCommand returns an error if the first pattern resembles a command.
func suggestCommand(patterns []string) error {
	if len(patterns) == 0 || strings.ContainsAny(patterns[0], "./") {
		return nil
	}
	commands := []string{
		"generate", "check", "breaking", "list", "explain", "init", "version", "help", "directives", "completion",
	}
	if near, ok := suggest.Nearest(patterns[0], commands); ok {
		return fmt.Errorf("unknown command %q; did you mean %q? (for a package in this directory, write ./%[1]s)",
			patterns[0], near)
	}
	return nil
}

func (c *command) generate(cmd *cobra.Command, patterns []string) error {
	c.options.Manifests = manifest.DefaultStore()
	plan, err := c.plan(cmd.Context(), patterns)
	if plan == nil || err != nil {
		return err
	}
	if err := plan.Apply(); err != nil {
		return err
	}
	if err := c.printWarnings(plan); err != nil || c.json {
		return err
	}
	c.printKept(plan)
	left := map[string]string{} // for directories with annotated files that were not scanned, a message
	for _, s := range plan.Skipped {
		if dir := filepath.Dir(s.File); left[dir] == "" {
			left[dir] = fmt.Sprintf("%s has annotations but is not scanned: %s", relativePath(s.File), s.Reason)
		}
	}
	for _, ch := range plan.Changes {
		verb := "wrote"
		if ch.Kind == gen.Orphaned {
			verb = "removed"
		}
		fmt.Fprintln(c.stdout, verb, relativePath(ch.Path))
		if ch.Kind == gen.Edited {
			fmt.Fprintf(c.stderr, "afgen: %s was edited and has been regenerated\n", relativePath(ch.Path))
		}
		if why := left[filepath.Dir(ch.Path)]; why != "" && ch.Kind == gen.Orphaned {
			fmt.Fprintf(c.stderr, "afgen: %s\n", why)
			delete(left, filepath.Dir(ch.Path))
		}
	}
	if !plan.Annotated {
		fmt.Fprintln(c.stderr, "afgen: no annotations found in", patternsText(patterns))
	}
	return nil
}

// printKept prints the files that can't be analyzed and whose output is kept.
func (c *command) printKept(plan *gen.Plan) {
	for _, s := range plan.Skipped {
		if slices.ContainsFunc(plan.Kept, func(k scan.Kept) bool { return k.File == s.File }) {
			fmt.Fprintf(c.stderr, "afgen: %s is not scanned: %s; its generated code is kept\n",
				relativePath(s.File), s.Reason)
		}
	}
}

func (c *command) check(cmd *cobra.Command, patterns []string) error {
	plan, err := c.plan(cmd.Context(), patterns)
	if plan == nil || err != nil {
		return err
	}
	if c.json {
		return c.checkJSON(plan)
	}
	if err := c.printWarnings(plan); err != nil {
		return err
	}
	c.printKept(plan)
	for _, ch := range plan.Changes {
		c.code = exitFindings
		fmt.Fprintf(c.stdout, "%s: %s\n%s", relativePath(ch.Path), ch.Kind, difference(ch))
	}
	if n := len(plan.Changes); n > 0 {
		fmt.Fprintf(c.stderr, "afgen: %s out of date; run go generate, or afgen %s\n",
			count(n, "file"), patternsText(patterns))
	}
	return nil
}

// difference returns the diff of a change. It is empty if the file would be removed.
func difference(ch gen.Change) string {
	if ch.Kind == gen.Orphaned {
		return ""
	}
	name := relativePath(ch.Path)
	return string(diff.Diff(name, ch.Old, name+" (as generated)", ch.New))
}

func (c *command) checkJSON(plan *gen.Plan) error {
	type change struct {
		File string   `json:"file"`
		Kind gen.Kind `json:"kind"`
		Diff string   `json:"diff"` // "" for an orphan
	}
	changes := []change{}
	for _, ch := range plan.Changes {
		c.code = exitFindings
		changes = append(changes, change{relativePath(ch.Path), ch.Kind, difference(ch)})
	}
	return c.printJSON(changes)
}

func (c *command) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *command) explain(_ *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return fmt.Errorf("afgen explain takes one code or rule, not %d", len(args))
	case len(args) == 0:
		for _, e := range diag.Entries() {
			fmt.Fprintf(c.stdout, "%s  %s\n", e.Code, e.Title)
		}
		for _, r := range contract.Rules() {
			fmt.Fprintf(c.stdout, "%-20s  %s\n", r.ID, r.Means)
		}
		return nil
	}
	name := strings.ToUpper(args[0])
	if rule, ok := contract.LookupRule(name); ok {
		fmt.Fprintf(c.stdout, "%s: %s\n\nBreaks %s. %s\n", rule.ID, rule.Means, rule.Breaks, rule.Why)
		return nil
	}
	e, ok := diag.Lookup(diag.Code(name))
	if !ok {
		if near, ok := suggest.Nearest(name, contract.RuleIDs()); ok {
			return fmt.Errorf("unknown rule %s; did you mean %s?", args[0], near)
		}
		return fmt.Errorf("unknown diagnostic or rule %s; run afgen explain for a list", args[0])
	}
	fmt.Fprint(c.stdout, e)
	return nil
}

// relativePath returns a path relative to the current directory, if it is inside.
func relativePath(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return filepath.ToSlash(rel)
}

func patternsText(patterns []string) string {
	if len(patterns) == 0 {
		return "."
	}
	return strings.Join(patterns, " ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
