package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// This file lets long flags have one dash, as those of the go command have: -dry-run and -o=wide, next to --dry-run.

// A token is an argument of the command line.
type token struct {
	text string
	kind tokenKind
}

type tokenKind int

const (
	word    tokenKind = iota // the name of a command
	option                   // a flag, or its value
	operand                  // any other argument
)

// arguments returns the arguments in the form that cobra reads: with two dashes before long flags. Values of flags and
// arguments after -- stay as they are. Numbers with a sign are arguments, not flags.
func arguments(root *cobra.Command, args []string) []string {
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		return completing(root, args)
	}
	var words, options, operands, all []string
	dashed := false // operands need -- before them
	for _, t := range tokens(root, args) {
		all = append(all, t.text)
		switch t.kind {
		case word:
			words = append(words, t.text)
		case option:
			options = append(options, t.text)
		case operand:
			operands = append(operands, t.text)
			dashed = dashed || strings.HasPrefix(t.text, "-") && t.text != "-"
		}
	}
	if !dashed {
		return all
	}
	return append(append(append(words, options...), "--"), operands...)
}

// completing is arguments for the hidden command that completes a line. The last argument is what is to complete.
func completing(root *cobra.Command, args []string) []string {
	out := []string{args[0]}
	if len(args) > 2 {
		for _, t := range tokens(root, args[1:len(args)-1]) {
			out = append(out, t.text)
		}
	}
	return append(out, args[max(1, len(args)-1):]...)
}

// tokens returns the arguments with their kinds, without the -- that ends the flags.
func tokens(cmd *cobra.Command, args []string) (all []token) {
	add := func(kind tokenKind, text string) { all = append(all, token{text, kind}) }
	begun := false // there was an operand
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			for _, rest := range args[i+1:] {
				add(operand, rest)
			}
			break
		}
		if !isFlag(arg) {
			sub := child(cmd, arg)
			if sub == nil || begun {
				begun = true
				add(operand, arg)
				continue
			}
			cmd = sub
			add(word, arg)
			continue
		}
		arg, takesValue := flagOf(cmd, arg)
		add(option, arg)
		if takesValue && i+1 < len(args) {
			i++
			add(option, args[i])
		}
	}
	return all
}

// isFlag reports whether an argument looks like a flag, and not like a number or the standard input.
func isFlag(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && arg[1] != '.' && (arg[1] < '0' || arg[1] > '9')
}

// flagOf returns a flag in the form that pflag reads, and whether the next argument is its value.
func flagOf(cmd *cobra.Command, arg string) (_ string, takesValue bool) {
	double := strings.HasPrefix(arg, "--")
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if f := lookup(cmd, name); f != nil && len(name) > 1 {
		if !double {
			arg = "-" + arg
		}
		return arg, !hasValue && f.NoOptDefVal == ""
	}
	if double || name == "" {
		return arg, false
	}
	if f := shorthand(cmd, name[:1]); f != nil { // -o json, -ojson, -f
		return arg, len(name) == 1 && !hasValue && f.NoOptDefVal == ""
	}
	return "-" + arg, false // unknown: the error names it as a whole
}

// lookup returns the flag with a name that a command has, or nil.
func lookup(cmd *cobra.Command, name string) *pflag.Flag {
	cmd.InitDefaultHelpFlag()
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	return cmd.InheritedFlags().Lookup(name)
}

// shorthand returns the flag with a letter that a command has, or nil.
func shorthand(cmd *cobra.Command, letter string) *pflag.Flag {
	cmd.InitDefaultHelpFlag()
	if f := cmd.Flags().ShorthandLookup(letter); f != nil {
		return f
	}
	return cmd.InheritedFlags().ShorthandLookup(letter)
}

// child returns the command with a name below a command, or nil.
func child(cmd *cobra.Command, name string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name || sub.HasAlias(name) {
			return sub
		}
	}
	return nil
}

// explainUsage makes the errors of arguments and flags name the command's usage and its help.
func explainUsage(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err) })
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		message := fmt.Sprintf("unknown command %q", args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			message += ": did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s\nrun '%s help' for all commands", message, cmd.Name())
	}
	root.SuggestionsMinimumDistance = 2
	for _, cmd := range root.Commands() {
		cmd.DisableFlagsInUseLine = !cmd.LocalNonPersistentFlags().HasFlags()
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return usageError(cmd, err)
				}
				return nil
			}
		}
	}
}

// usageError adds the usage of a command to an error of its arguments or flags.
func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%s: %w\nusage: %s; see '%s -help'", cmd.Name(), err, cmd.UseLine(), cmd.CommandPath())
}
