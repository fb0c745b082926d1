// Package cli is the command af: a tree of cobra commands over [admin.API].
//
// [Run] runs one invocation. Its global flags select the system, which the first command that needs it opens: see
// connect.go. Each command reads or changes through the API, and prints through package text: a table for people, or one
// JSON object with -o json. What an object has is documented in docs/af.md, and stays.
//
// # Exit codes
//
// 0: done. 1: problems were found, nothing was found, a task that was waited for failed, or a change failed. 2: the
// command was used wrongly, or is not allowed. 3: the system is unavailable. 130: interrupted. 141: the reader of the
// output, such as head, has closed it.
//
// # Changes
//
// Changes are made with an [admin.Action]: the user's name and -reason. Those of many tasks first show what they would
// change and ask, unless -yes is given. Without a terminal to ask on, they need -yes.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/runtime/admin"
)

// Exit codes.
const (
	exitDone        = 0
	exitProblem     = 1 // problems or nothing found, or a task failed
	exitUsage       = 2
	exitUnavailable = 3
	exitInterrupted = 130
	exitPipe        = 141 // as the shell reports for a command that SIGPIPE ends
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
	getenv := os.Getenv
	printer := func(f *os.File) text.Printer {
		p := text.Printer{Writer: f}
		if p.Terminal = term.IsTerminal(int(f.Fd())); p.Terminal {
			p.Width, _, _ = term.GetSize(int(f.Fd())) // 0 if it is unknown: nothing is cut
			if !understandsEscapes(f) {
				getenv = dumb
			}
			p.Color = os.Getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
		}
		return p
	}
	stdout, stderr := printer(os.Stdout), printer(os.Stderr)
	return Environment{
		Screen: processScreen(),
		In:     os.Stdin, Out: stdout, Err: stderr, Prompt: term.IsTerminal(int(os.Stdin.Fd())),
		Getenv: getenv, Now: time.Now,
	}
}

// dumb is os.Getenv for a terminal that understands no escape sequences, whatever TERM says.
func dumb(name string) string {
	if name == "TERM" {
		return "dumb"
	}
	return os.Getenv(name)
}

// An invocation is one run of the command.
type invocation struct {
	Environment
	source source // the system
	output string // table, wide or json
	code   int    // exit code of a command that returns no error
	conn   *connection
}

// Run runs the command and returns its exit code. It ends early, and closes the system, when ctx ends or the
// output can't be written.
func Run(ctx context.Context, args []string, env Environment) int {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &output{Writer: env.Out.Writer, interrupt: cancel}
	env.Out.Writer = out
	c := &invocation{Environment: env}
	root := c.root()
	root.SetArgs(completedFlag(root, arguments(root, args)))
	err := root.ExecuteContext(running)
	err = errors.Join(err, c.close(running))
	switch failed := out.failed(); {
	case failed != nil && brokenPipe(failed):
		return exitPipe
	case failed != nil:
		err = &outputError{failed}
	case err == nil:
		return c.code
	case ctx.Err() != nil:
		return exitInterrupted
	}
	for _, line := range c.describe(err) {
		fmt.Fprintf(&c.Err, "af: %s\n", line)
	}
	return exitCode(err)
}

// Command returns the tree of commands, for its documentation.
func Command() *cobra.Command { return new(invocation).root() }

const long = `Af reads and changes a running system: its queues, tasks, jobs, services and machines.

It opens the system of -c, -file, -url or $AF_URL, or the one of config.yaml in this directory.
It needs no other program, and runs no tasks itself.

` + examples + `

Exit codes: 0 done; 1 problems or nothing found, or a task failed; 2 wrong usage, or not allowed;
3 unavailable.`

const examples = `  af top                                    what happens now
  af ls queue:mail status:failed -since 1h  tasks; see af help filter
  af why ID                                 why a task does not run
  af retry -where status:failed -dry-run    what a change would do`

func init() { cobra.EnableCommandSorting = false } // the help has an order of its own

// root returns the tree of commands.
func (c *invocation) root() *cobra.Command {
	root := &cobra.Command{
		Use: "af COMMAND", Short: "Read and change a running afgen system", Long: long,
		SilenceErrors: true, SilenceUsage: true,
		Run:               func(cmd *cobra.Command, _ []string) { c.overview(cmd) },
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.checkFlags() },
	}
	root.SetIn(c.In)
	root.SetOut(&c.Out)
	root.SetErr(&c.Err)
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
	add(groupSystem, c.doctorCommand(), c.uiCommand(), c.completionCommand(), c.versionCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(c.filterHelp())
	c.addCompletions(root)
	explainUsage(root)
	c.setHelp(root)
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

// by returns the name of the user: user@host, or the user alone. Under sudo it is the user who ran that.
func (c *invocation) by() string {
	name := cmp.Or(c.Getenv("SUDO_USER"), c.Getenv("USER"), c.Getenv("USERNAME"), "af") // USERNAME is of Windows
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return strings.ToValidUTF8(name[:min(len(name), 200)], "")
}
