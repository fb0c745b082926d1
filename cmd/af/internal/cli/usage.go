package cli

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/afgen/afgen/cmd/af/internal/text"
)

// maxHelpWidth is the width of help on wide terminals, and without one.
const maxHelpWidth = 100

// setHelp replaces cobra's help by one with long flags as users of the go command write them.
func (c *invocation) setHelp(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		cmd.InitDefaultHelpFlag()
		cmd.Flags().Lookup("help").Hidden = true // every command has it
		if cmd == root {
			c.rootHelp(root)
			return
		}
		c.commandHelp(cmd)
	})
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprintf(&c.Err, "usage: %s\n", cmd.UseLine())
		return err
	})
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND]", Short: "Describe a command, or list all", Args: cobra.MaximumNArgs(1), GroupID: groupSystem,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			for _, cmd := range root.Commands() {
				names = append(names, cobra.CompletionWithDesc(cmd.Name(), cmd.Short))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return root.Help()
			}
			cmd := child(root, args[0])
			if cmd == nil {
				return root.Args(root, args)
			}
			return cmd.Help()
		},
	})
	root.InitDefaultHelpCmd()
}

// overview prints the commands on a page of 24 lines.
func (c *invocation) overview(root *cobra.Command) {
	const indent = 10
	w := &c.Out
	fmt.Fprintf(w, "%s.\n\nUsage: af [-c config.yaml | -file .af/af.db | -url https://host/ops] COMMAND\n\n", root.Short)
	for _, g := range root.Groups() {
		line := c.Out.Styled(text.Bold, g.Title) + strings.Repeat(" ", indent-len(g.Title))
		used := indent
		for _, cmd := range grouped(root, g.ID) {
			if used += len(cmd.Name()) + 1; used > 80 {
				line = strings.TrimRight(line, " ") + "\n" + strings.Repeat(" ", indent)
				used = indent + len(cmd.Name()) + 1
			}
			line += cmd.Name() + " "
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	fmt.Fprintf(w, "\n%s\n\naf help lists all commands with a line each; af help COMMAND describes one.\n", examples)
}

// rootHelp prints all commands with a line each, and the global flags.
func (c *invocation) rootHelp(root *cobra.Command) {
	w := &c.Out
	fmt.Fprintln(w, root.Long)
	for _, g := range root.Groups() {
		fmt.Fprintf(w, "\n%s\n", c.Out.Styled(text.Bold, g.Title))
		for _, cmd := range grouped(root, g.ID) {
			fmt.Fprintf(w, "  %-10s  %s\n", cmd.Name(), cmd.Short)
		}
	}
	for _, cmd := range root.Commands() {
		if cmd.IsAdditionalHelpTopicCommand() {
			fmt.Fprintf(w, "\n%s\n  %-10s  %s\n", c.Out.Styled(text.Bold, "Topics:"), cmd.Name(), cmd.Short)
		}
	}
	fmt.Fprintf(w, "\n%s\n", c.Out.Styled(text.Bold, "Flags of every command:"))
	c.flagHelp(w, root.PersistentFlags())
	fmt.Fprintln(w, "\naf help COMMAND describes a command and its flags.")
}

// commandHelp prints what a command does, and its flags.
func (c *invocation) commandHelp(cmd *cobra.Command) {
	w := &c.Out
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	if cmd.Runnable() {
		fmt.Fprintf(w, "Usage: %s\n\n", cmd.UseLine())
	}
	fmt.Fprintln(w, strings.TrimSpace(about))
	if cmd.Example != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", c.Out.Styled(text.Bold, "Examples:"), strings.TrimRight(cmd.Example, "\n"))
	}
	if subs := cmd.Commands(); len(subs) > 0 {
		fmt.Fprintf(w, "\n%s\n", c.Out.Styled(text.Bold, "Commands:"))
		for _, sub := range subs {
			fmt.Fprintf(w, "  %-10s  %s\n", sub.Name(), sub.Short)
		}
	}
	if !cmd.Runnable() {
		return
	}
	if local := cmd.LocalNonPersistentFlags(); local.HasAvailableFlags() {
		fmt.Fprintf(w, "\n%s\n", c.Out.Styled(text.Bold, "Flags:"))
		c.flagHelp(w, local)
	}
	var global []string
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		name := f.Name
		if f.Shorthand != "" {
			name = f.Shorthand
		}
		global = append(global, "-"+name)
	})
	if len(global) > 0 {
		fmt.Fprintf(w, "\nFlags of every command: %s; see af help.\n", strings.Join(global, " "))
	}
}

// flagHelp prints a line for each flag.
func (c *invocation) flagHelp(w io.Writer, flags *pflag.FlagSet) {
	width := maxHelpWidth
	if c.Out.Width > 0 {
		width = min(width, c.Out.Width)
	}
	usages := flags.FlagUsagesWrapped(width)
	long := regexp.MustCompile(`(?m)^(  (?:-\w, |    ))--`)
	usages = long.ReplaceAllString(usages, "$1-")
	if !regexp.MustCompile(`(?m)^  -\w, `).MatchString(usages) { // without letters, no column for them
		usages = regexp.MustCompile(`(?m)^    `).ReplaceAllString(usages, "")
	}
	fmt.Fprint(w, usages)
}

// grouped returns the visible commands of a group.
func grouped(root *cobra.Command, group string) (commands []*cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.GroupID == group && !cmd.Hidden {
			commands = append(commands, cmd)
		}
	}
	return commands
}
