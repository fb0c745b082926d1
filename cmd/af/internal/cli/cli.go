// Package cli is the command af: a tree of cobra commands over [admin.API].
//
// [Run] runs one invocation. Its global flags select the system, which the first command that needs it opens: see
// connect.go. Each command reads or changes through the API, and prints through package text: a table for people, or one
// JSON object with -o json. What an object has is documented in docs/af.md, and stays.
//
// # Exit codes
//
// 0: done. 1: problems were found, nothing was found, or a task that was waited for failed. 2: the command was used
// wrongly, or is not allowed. 3: the system is unavailable. 130: interrupted.
//
// # Changes
//
// Changes are made with an [admin.Action]: the user's name and -reason. Those of many tasks first show what they would
// change and ask, unless -yes is given. Without a terminal to ask on, they need -yes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// Exit codes.
const (
	exitDone        = 0
	exitProblem     = 1 // problems or nothing found, or a task failed
	exitUsage       = 2
	exitUnavailable = 3
	exitInterrupted = 130
)

// An Environment is what the command takes from its process. Tests replace it.
type Environment struct {
	Screen
	In       io.Reader
	Out, Err text.Printer
	Prompt   bool // In is a terminal, so that questions can be asked
	Getenv   func(string) string
	Now      func() time.Time

	system admin.API // of a test; nil means the one that the flags select
}

// System returns the environment of this process. Colors are used on terminals, unless NO_COLOR is set or TERM is dumb.
func System() Environment {
	printer := func(f *os.File) text.Printer {
		p := text.Printer{Writer: f}
		if p.Terminal = term.IsTerminal(int(f.Fd())); p.Terminal {
			p.Width, _, _ = term.GetSize(int(f.Fd()))
			p.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		}
		return p
	}
	return Environment{
		Screen: processScreen(),
		In:     os.Stdin, Out: printer(os.Stdout), Err: printer(os.Stderr), Prompt: term.IsTerminal(int(os.Stdin.Fd())),
		Getenv: os.Getenv, Now: time.Now,
	}
}

// An invocation is one run of the command.
type invocation struct {
	Environment
	source source // the system
	output string // table, wide or json
	code   int    // exit code of a command that returns no error
	conn   *connection
}

// Run runs the command and returns its exit code.
func Run(ctx context.Context, args []string, env Environment) int {
	c := &invocation{Environment: env}
	root := c.root()
	root.SetArgs(longFlags(args))
	root.SetIn(env.In)
	root.SetOut(&env.Out)
	root.SetErr(&env.Err)
	err := root.ExecuteContext(ctx)
	err = errors.Join(err, c.close(ctx))
	if err == nil {
		return c.code
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	for line := range strings.Lines(c.describe(err)) {
		fmt.Fprintf(&env.Err, "af: %s\n", text.Clean(strings.TrimRight(line, "\n")))
	}
	return exitCode(err)
}

// exitCode returns the exit code of an error. Errors without a code are those of cobra: wrong usage.
func exitCode(err error) int {
	e, ok := errors.AsType[*af.Error](err)
	if !ok {
		return exitUsage
	}
	switch e.Code {
	case af.ErrInvalidArgument, af.ErrPermissionDenied, af.ErrUnauthenticated, af.ErrUnimplemented:
		return exitUsage
	case af.ErrUnavailable, af.ErrDeadlineExceeded:
		return exitUnavailable
	}
	return exitProblem
}

// describe returns the lines that tell a person what went wrong.
func (c *invocation) describe(err error) string { return err.Error() }

const long = `Af reads and changes a running system: its queues, tasks, jobs, services and machines.

It opens the system that config.yaml in this directory names, or -c, -file or -url, and needs no
other program. It does not run tasks itself.

  af top                                         what happens now
  af ls queue:resize status:failed -since 1h     tasks; af help filter describes filters
  af why ID                                      why a task does not run
  af retry -where 'status:failed' -dry-run       what a change would do

Exit codes: 0 done; 1 problems or nothing found, or a task failed; 2 wrong usage; 3 unavailable.`

// root returns the tree of commands.
func (c *invocation) root() *cobra.Command {
	root := &cobra.Command{
		Use: "af COMMAND", Short: "Read and change a running afgen system", Long: long,
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.checkFlags() },
	}
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVarP(&c.source.config, "config", "c", "", "the system of this configuration `file` (default config.yaml)")
	f.StringVar(&c.source.file, "file", "", "the system in this embedded `file`, such as .af/af.db")
	f.StringVar(&c.source.url, "url", "", "the system that a server administers at this `URL` (default $AF_URL)")
	f.StringVar(&c.source.tokenFile, "token-file", "", "`file` with the token for -url (default $AF_TOKEN)")
	f.StringVarP(&c.output, "output", "o", "table", "`format`: table, wide or json")
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"},
		&cobra.Group{ID: groupChange, Title: "Change:"},
		&cobra.Group{ID: groupSystem, Title: "System:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add(groupSee, c.topCommand(), c.psCommand(), c.queuesCommand(), c.lsCommand(), c.getCommand(), c.treeCommand(),
		c.whyCommand(), c.logsCommand(), c.waitCommand(), c.tailCommand(), c.instancesCommand(), c.nodesCommand(),
		c.servicesCommand(), c.jobsCommand(), c.firesCommand(), c.auditCommand())
	add(groupChange, c.submitCommand(), c.callCommand(), c.retryCommand(), c.stopCommand(), c.deleteCommand(),
		c.runCommand(), c.reweighCommand(), c.pauseCommand(), c.resumeCommand(), c.maxCommand(), c.fireCommand(),
		c.enableCommand(), c.disableCommand())
	add(groupSystem, c.doctorCommand(), c.versionCommand())
	root.AddCommand(c.filterHelp())
	return root
}

// Groups of commands in the help.
const (
	groupSee    = "see"
	groupChange = "change"
	groupSystem = "system"
)

// checkFlags returns an error if a global flag is wrong.
func (c *invocation) checkFlags() error {
	switch c.output {
	case "table", "wide", "json":
	default:
		return fmt.Errorf("-o %s: want table, wide or json", c.output)
	}
	return c.source.check()
}

// printJSON prints a value as an indented JSON object.
func (c *invocation) printJSON(v any) error {
	return c.encode(v, "  ")
}

// json reports whether JSON is printed.
func (c *invocation) json() bool { return c.output == "json" }

// table returns a table for the output format.
func (c *invocation) table(columns ...text.Column) *text.Table {
	return &text.Table{Columns: columns, Wide: c.output == "wide"}
}

// action returns the action of a change.
func (c *invocation) action(reason string, dryRun bool) admin.Action {
	return admin.Action{By: c.by(), Reason: reason, DryRun: dryRun}
}

// by returns the name of the user: user@host, or the user alone.
func (c *invocation) by() string {
	name := c.Getenv("USER")
	if name == "" {
		name = c.Getenv("USERNAME") // Windows
	}
	if name == "" {
		name = "af"
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name[:min(len(name), 200)]
}

// longFlag matches flags with one dash, such as -json, -dry-run and -o=wide.
var longFlag = regexp.MustCompile(`^-[a-z][a-z0-9]*[a-z-][a-z0-9-]*(=|$)`)

// longFlags replaces the single dash of long flags, which users of the go command write, by two.
func longFlags(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "--" {
			copy(out[i:], args[i:])
			break
		}
		if longFlag.MatchString(a) {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}
