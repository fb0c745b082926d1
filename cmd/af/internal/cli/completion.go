package cli

import (
	"github.com/spf13/cobra"
)

// shells are the shells with completion scripts.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func (c *invocation) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print the script that completes commands in a shell",
		Long: `Prints the script by which bash, zsh, fish or powershell completes the commands and flags of af,
and the names of queues, services, methods and jobs from the running system.`,
		Example: `  source <(af completion bash)                                    this session
  af completion zsh > "${fpath[1]}/_af"                           all sessions of zsh
  af completion fish > ~/.config/fish/completions/af.fish         all sessions of fish`,
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(&c.Out, true)
			case "zsh":
				return root.GenZshCompletion(&c.Out)
			case "fish":
				return root.GenFishCompletion(&c.Out, true)
			}
			return root.GenPowerShellCompletionWithDesc(&c.Out)
		},
	}
}
