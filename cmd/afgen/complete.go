package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/gen/contract"
	"github.com/afgen/afgen/gen/diag"
)

// completeExplain completes the codes of diagnostics and the rules of breaking, with descriptions.
func completeExplain(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []cobra.Completion
	offer := func(name, means string) {
		if strings.HasPrefix(name, strings.ToUpper(word)) {
			all = append(all, cobra.CompletionWithDesc(name, means))
		}
	}
	for _, e := range diag.Entries() {
		offer(string(e.Code), e.Title)
	}
	for _, r := range contract.Rules() {
		offer(r.ID, r.Means)
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeAllow completes the rule of -allow RULE=NAME.
func completeAllow(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []cobra.Completion
	for _, r := range contract.Rules() {
		if strings.HasPrefix(r.ID, strings.ToUpper(word)) {
			all = append(all, cobra.CompletionWithDesc(r.ID+"=", r.Means))
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeBackend completes the backends of init.
var completeBackend = cobra.FixedCompletions([]cobra.Completion{
	cobra.CompletionWithDesc("auto", "what config.yaml selects"),
	cobra.CompletionWithDesc("embedded", "one SQLite file"),
	cobra.CompletionWithDesc("servers", "RabbitMQ, MongoDB and Redis"),
}, cobra.ShellCompDirectiveNoFileComp)

// completePackages completes directories.
func completePackages(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
