package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/runtime/admin"
)

func (c *invocation) reweighCommand() *cobra.Command {
	var reason string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "reweigh WEIGHT ID...", Short: "Change the weight of tasks",
		Long: `Reweigh changes the weight of tasks that have not ended. Heavier tasks of a queue run first; the
default weight is that of the worker. WEIGHT is from -1000 to 1000. If a task runs, its weight
counts when it waits again.`,
		Example: `  af reweigh 100 7N4QK2 -reason 'the customer waits'
  af reweigh -5 7N4QK2 8M5RL3`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("want WEIGHT, and then the ids of tasks")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			weight, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("weight %q: want a number from -1000 to 1000, and then the ids of tasks", args[0])
			}
			return c.changeEach(cmd.Context(), &taskChange{
				verb: "reweigh", done: fmt.Sprintf("given weight %d", weight),
				one: func(ctx context.Context, api admin.API, id string, a admin.Action) (changedTask, error) {
					return changedTask{}, api.Reweigh(ctx, id, weight, a)
				},
			}, args[1:], c.action(reason, dryRun))
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVar(&dryRun, "dry-run", false, "only show what would change")
	fs.StringVar(&reason, "reason", "", "`why`: kept in the audit log")
	return cmd
}
