package cli

import (
	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// queueList is what af queues -o json prints.
type queueList struct {
	Queues []af.QueueInfo `json:"queues"`
}

func (c *invocation) queuesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "queues", Short: "List queues with their tasks, limits and workers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			queues, err := api.Queues(cmd.Context())
			if err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(queueList{queues})
			}
			t := c.table(
				text.Column{Title: "QUEUE", Cut: true},
				text.Column{Title: "WAITING", Right: true}, text.Column{Title: "RUNNING", Right: true},
				text.Column{Title: "RETRYING", Right: true}, text.Column{Title: "OLDEST", Right: true},
				text.Column{Title: "SLOTS", Right: true}, text.Column{Title: "WORKERS", Right: true},
				text.Column{Title: "STATE", Cut: true},
			)
			for _, q := range queues {
				state, style := queueState(q)
				t.Add(text.Of(q.Name), text.Of(text.Count(waiting(q))), text.Of(text.Count(q.Counts[af.StatusRunning])),
					text.Of(text.Count(q.Counts[af.StatusRetrying])), text.Of(text.Since(q.Oldest, c.Now())),
					text.Of(text.Number(int64(q.Slots))), text.Of(text.Number(int64(q.Workers))), text.Cell{Text: state, Style: style})
			}
			return t.Print(&c.Out)
		},
	}
}

// waiting returns how many tasks of a queue wait for their first attempt.
func waiting(q af.QueueInfo) af.Count {
	a, b := q.Counts[af.StatusWaiting], q.Counts[af.StatusPending]
	return af.Count{N: a.N + b.N, AtLeast: a.AtLeast || b.AtLeast}
}

// queueState returns what an operator must know of a queue.
func queueState(q af.QueueInfo) (string, text.Style) {
	switch {
	case q.Limits.Paused:
		return "paused", text.Yellow
	case q.Workers == 0:
		return "no worker", text.Red
	case q.Slots == 0:
		return "limit 0", text.Yellow
	case q.Running >= q.Slots && !q.Oldest.IsZero():
		return "all slots busy", text.Yellow
	}
	return "", text.Plain
}
