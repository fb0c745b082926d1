package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// These lines enclose the section of a document for the result of a tier.
const (
	recordBegin = "<!-- the last run of make test-%s -->\n"
	recordEnd   = "<!-- end -->\n"
)

// record writes the result into a document.
func (r *runner) record(file string) error {
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return fmt.Errorf("git describe: %w", err)
	}
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin := fmt.Sprintf(recordBegin, r.tier)
	before, rest, ok := strings.Cut(string(doc), begin)
	_, after, closed := strings.Cut(rest, recordEnd)
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the result, which would be between %q and %q", file, begin, recordEnd)
	}
	return os.WriteFile(file, []byte(before+begin+r.table(strings.TrimSpace(string(commit)))+recordEnd+after), 0o644)
}

// table returns the result in Markdown.
func (r *runner) table(commit string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s, %v, load at the end %s: %d passed, %d failed.\n\n", commit,
		r.begun.UTC().Format(time.DateOnly),
		time.Since(r.begun).Round(time.Second), load(), r.report.passed, r.report.failures)
	b.WriteString("| step | time | CPU | result |\n| --- | --- | --- | --- |\n")
	for _, s := range r.results {
		result := "passed"
		if s.err != nil {
			result = "**failed**"
		}
		fmt.Fprintf(&b, "| %s | %v | %v | %s |\n", s.name, s.took.Round(time.Second), s.cpu.Round(time.Second), result)
	}
	return b.String()
}
