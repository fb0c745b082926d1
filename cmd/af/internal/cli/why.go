package cli

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/runtime/admin"
)

func (c *invocation) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "why ID", Short: "Tell why a task does not run", Args: cobra.ExactArgs(1),
		Long: `Why explains the state of a task, above all why it does not run: the answer, what helps, what else
would delay it, and the evidence. docs/why.md describes the rules.

-o json prints {"task": "ID", "queue": "...", "status": "...", "at": "...", "rules": [{"rule": "...",
"text": "...", "evidence": {...}, "help": [...]}]}, the answer first.`,
		Example: `  af why ID
  af why ID -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			e, err := api.Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(e)
			}
			lines := c.answer(&e, 0)
			if len(e.Rules) > 1 {
				lines = append(lines, "", c.Out.Styled(text.Dim, "Also:"))
				for i := range e.Rules[1:] {
					lines = append(lines, c.finding(&e, i+1, text.Plain, 2)...)
				}
			}
			lines = append(lines, "", c.Out.Styled(text.Dim, "Evidence:"))
			lines = append(lines, c.evidence(&e).lines(&c.Out, 2)...)
			if _, offset := c.Now().Zone(); offset != 0 {
				lines = append(lines, "", c.Out.Styled(text.Dim, "Times of day in sentences are UTC."))
			}
			return c.print(lines)
		},
	}
}

// answer returns the lines of the answer: the sentence, and what helps.
func (c *invocation) answer(e *admin.Explanation, indent int) []string {
	return c.finding(e, 0, text.Bold, indent)
}

// finding returns the lines of a finding and of what helps.
func (c *invocation) finding(e *admin.Explanation, i int, style text.Style, indent int) []string {
	if i >= len(e.Rules) {
		return nil
	}
	lines := wrapped(&c.Out, e.Rules[i].Text, style, indent)
	for _, help := range e.Rules[i].Help {
		for k, line := range wrapped(&c.Out, commands(help, e.Task, e.Queue), text.Plain, indent+2) {
			if k > 0 {
				line = "  " + line
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// method matches the methods and options of the library that a help names.
var method = regexp.MustCompile(`\b(App|af)\.[A-Z]\w+`)

// commandOf returns the command that does what a method does, or "".
func commandOf(method, task, queue string) string {
	switch method {
	case "App.RetryTask":
		return shell("af retry", task)
	case "App.StopTask":
		return shell("af stop", task)
	case "App.RunNow":
		return shell("af run", task)
	case "App.Reweigh":
		return shell("af reweigh", task) + " N"
	case "App.ResumeQueue":
		return shell("af resume", queue)
	case "App.UpdateMaxWorkers":
		return shell("af max", queue) + " N"
	case "App.ResetMaxWorkers":
		return shell("af max -reset", queue)
	case "App.Queues":
		return "af queues"
	case "App.Instances":
		return "af instances"
	case "App.Health":
		return "af doctor"
	}
	return ""
}

// commands returns what helps with the commands in place of the methods of the library.
func commands(help, task, queue string) string {
	return method.ReplaceAllStringFunc(help, func(m string) string {
		if command := commandOf(m, task, queue); command != "" {
			return "`" + command + "`"
		}
		return m
	})
}

// evidence returns what the findings rest on. Those of the answer come first.
func (c *invocation) evidence(e *admin.Explanation) *details {
	var d details
	d.add("task", fmt.Sprintf("%s in queue %s", e.Task, e.Queue))
	d.styled("status", string(e.Status), text.StatusStyle(e.Status))
	d.add("read", c.at(e.At))
	for i := range e.Rules {
		d.add("rule", string(e.Rules[i].Rule))
		c.addEvidence(&d, &e.Rules[i].Evidence)
	}
	return &d
}

func (c *invocation) addEvidence(d *details, v *admin.Evidence) {
	d.add("since", c.when(v.Since))
	d.add("until", c.when(v.Until))
	if v.Instance != "" {
		d.add("instance", place(v.Instance, v.IP))
	}
	d.add("last beat", c.when(v.LastBeat))
	d.add("expires", c.when(v.Expires))
	if v.Attempt > 0 {
		attempt := text.Number(int64(v.Attempt))
		if v.Attempts > 0 {
			attempt += " of " + text.Number(int64(v.Attempts))
		}
		d.add("attempt", attempt)
	}
	if len(v.Progress) > 0 {
		d.add("progress", text.Shorten(text.Clean(jsonText(v.Progress)), 200))
		d.add("reported", c.when(v.Progressed))
	}
	if v.Code != "" {
		d.add("error", string(v.Code)+": "+v.Message)
	}
	if v.Source != "" {
		d.add("source", strings.TrimSuffix(v.Source+" "+string(v.SourceStatus), " "))
	}
	for _, s := range v.Conditions {
		d.add("down", fmt.Sprintf("%s since %s (mode %s): %s", s.Name, c.when(s.Since), s.Mode, s.Cause))
	}
	d.add("by", v.By)
	d.add("reason", v.Reason)
	d.add("version", v.Version)
	d.add("allowed", strings.Join(v.Allow, ", "))
	if v.Slots > 0 {
		d.add("slots", fmt.Sprintf("%s of %s taken", text.Number(int64(v.Taken)), text.Number(int64(v.Slots))))
	}
	d.add("oldest", c.when(v.Oldest))
	if v.Ahead != nil {
		d.add("ahead", text.Count(*v.Ahead)+" tasks")
	}
	if v.PerMinute > 0 {
		d.add("rate", fmt.Sprintf("%.3g started a minute", v.PerMinute))
	}
	if v.Losses > 0 {
		crashes := fmt.Sprintf("%d processes died, %d charged", v.Losses, v.Crashes)
		if v.MaxCrashes > 0 {
			crashes += fmt.Sprintf(" of %d", v.MaxCrashes)
		}
		d.add("crashes", crashes)
	}
	d.add("served", c.at(v.Served))
	for _, w := range v.Workers {
		worker := place(w.Instance, w.IP)
		if w.Version != "" {
			worker += ", version " + w.Version
		}
		if w.Refusal != "" {
			worker += ": " + w.Refusal
		}
		d.add("worker", worker)
	}
}

// place returns an instance with its address.
func place(instance, ip string) string {
	if ip == "" {
		return instance
	}
	return instance + " (" + ip + ")"
}
