package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

func (c *invocation) topCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use: "top", Short: "Show health, queues, rates and failures, live", Args: cobra.NoArgs,
		Long: `Top shows on one page what happens now: what is down and what that means, how many tasks end and
fail, the queues in the order of what hurts, the tasks that run for longest, and failures by code.

On a terminal the page is redrawn when something changes. Keys: q quits; p pauses; u, w, r and n sort
queues by urgency, waiting tasks, running tasks and name. Elsewhere, and with -once, it is printed
once. With -o json it prints an object a second, each on a line.

Rates are those of the last minute that all instances have reported, which ended one to two minutes
ago; "waited" is from when a task was due to its start. Failures are attempts of the last hour, and
LAST is how long ago a task failed permanently, which is named.`,
		Example: `  af top
  af top -once > page.txt
  af top -o json | jq .minute.failed`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			read := func(ctx context.Context) (*topState, error) { return readTop(ctx, api, c.conn.name, c.Now()) }
			if !once && c.json() {
				return c.topStream(cmd.Context(), read)
			}
			if !once && c.live() {
				order := byUrgency
				page := livePage[*topState]{
					kinds: []admin.Kind{admin.KindHealth, admin.KindQueues, admin.KindTasks, admin.KindInstances}, read: read,
					lines: func(s *topState, v *view) []string { return s.lines(v, order) },
					key: func(k byte) {
						if o, ok := queueOrders[k]; ok {
							order = o
						}
					},
				}
				return page.run(cmd.Context(), c, api)
			}
			s, err := read(cmd.Context())
			if err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(s)
			}
			v := &view{Printer: c.Out, Now: c.Now()}
			_, err = c.Out.Write([]byte(strings.Join(s.lines(v, byUrgency), "\n") + "\n"))
			return err
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print the page once")
	return cmd
}

// topStream prints the state each second until ctx ends. Errors of the store and the server end it.
func (c *invocation) topStream(ctx context.Context, read func(context.Context) (*topState, error)) error {
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		s, err := read(ctx)
		if err == nil {
			err = c.printLine(s)
		}
		if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// topState is what af top shows, and prints with -o json.
type topState struct {
	System    string     `json:"system"`
	Time      time.Time  `json:"time"`
	Health    af.Health  `json:"health"`             // of the App that answers
	Degraded  []degraded `json:"degraded,omitempty"` // what instances can't reach
	Instances int        `json:"instances"`
	Nodes     int        `json:"nodes"`
	Jobs      int        `json:"jobs"`

	Counts map[af.Status]af.Count `json:"counts"` // of tasks
	Oldest time.Time              `json:"oldest,omitzero"`
	// Minute is the last minute that all instances have reported.
	Minute *af.HistoryPoint `json:"minute,omitempty"`
	Queues []af.QueueInfo   `json:"queues"`
	// Running has tasks that run now, the longest running first, at most topRunning.
	Running      []af.Task                     `json:"running"`
	RunningTotal af.Count                      `json:"running_total"`
	Failures     []failures                    `json:"failures"`          // of the last hour, most first
	Missing      map[string]*admin.MissingPart `json:"missing,omitempty"` // what could not be read
}

// A degraded is what some instances can't reach.
type degraded struct {
	Mode      string `json:"mode"` // with its cause
	Instances int    `json:"instances"`
}

// A failures is attempts that failed with a code in the last hour.
type failures struct {
	Code  af.Code  `json:"code"`
	Count int64    `json:"count"`
	Last  *af.Task `json:"last,omitempty"` // the task that failed last permanently, if it is among the latest
}

const (
	topRunning = 100     // running tasks
	topFailed  = 100     // failed tasks
	topBytes   = 1 << 20 // of a page of tasks
)

// readTop reads the state of the system. Like that of Overview, its parts that can't be read are in Missing.
func readTop(ctx context.Context, api admin.Reader, system string, now time.Time) (*topState, error) {
	o, err := api.Overview(ctx)
	if err != nil {
		return nil, err
	}
	s := &topState{
		System: system, Time: now, Health: o.Health, Instances: o.Instances, Nodes: o.Nodes, Jobs: o.Jobs, Counts: o.Counts,
		Oldest: o.Oldest, Minute: lastMinute(o.Hour), Queues: o.Queues, Missing: o.Missing, Running: []af.Task{},
	}
	missing := func(part string, err error) error {
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if s.Missing == nil {
			s.Missing = map[string]*admin.MissingPart{}
		}
		s.Missing[part] = &admin.MissingPart{Code: af.CodeOf(err), Message: messageOf(err)}
		return nil
	}
	running, err := runningTasks(ctx, api, "", topRunning)
	if err := missing("running", err); err != nil {
		return nil, err
	}
	if err == nil {
		s.Running, s.RunningTotal = running.Tasks, af.Count{N: running.Total, AtLeast: running.AtLeast}
	}
	q := af.TaskQuery{Statuses: []af.Status{af.StatusFailed}, Sort: af.TasksByEnd, Limit: topFailed, Bytes: topBytes}
	failed, err := api.Tasks(ctx, q)
	if err := missing("failures", err); err != nil {
		return nil, err
	}
	s.Failures = failuresOf(o.Hour, heads(failed.Tasks), now.Add(-time.Hour))
	instances, err := api.Instances(ctx, af.InstanceQuery{Limit: 1000})
	if err := missing("instances", err); err != nil {
		return nil, err
	}
	s.Degraded = degradedOf(instances.Instances)
	return s, nil
}

// lastMinute returns the last minute that all instances have reported: the current one and the one before are not
// complete. In a system that has just been started, it returns the last one that has events.
func lastMinute(hour []af.HistoryPoint) *af.HistoryPoint {
	n := len(hour)
	if n < 3 {
		return nil
	}
	events := func(p af.HistoryPoint) bool { return p.Submitted+p.Started+p.Succeeded+p.Failed+p.Stopped > 0 }
	switch {
	case slices.ContainsFunc(hour[:n-2], events):
	case events(hour[n-1]):
		return &hour[n-1]
	case events(hour[n-2]):
		return &hour[n-2]
	}
	return &hour[n-3]
}

// failuresOf groups failures by code: their counts are those of the last hour, and the tasks those that failed last, or
// since a time.
func failuresOf(hour []af.HistoryPoint, failed []af.Task, since time.Time) []failures {
	byCode := map[af.Code]*failures{}
	of := func(code af.Code) *failures {
		f := byCode[code]
		if f == nil {
			f = &failures{Code: code}
			byCode[code] = f
		}
		return f
	}
	for i := range hour {
		for code, n := range hour[i].Codes {
			of(code).Count += n
		}
	}
	reported := map[af.Code]int64{}
	for code, f := range byCode {
		reported[code] = f.Count
	}
	for i := range failed { // the last one first
		t := &failed[i]
		if t.Error == nil || t.Ended.Before(since) {
			continue
		}
		f := of(t.Error.Code)
		if f.Last == nil {
			f.Last = t
		}
		// What instances have not reported yet is counted here, as far as it is listed.
		if reported[t.Error.Code] == 0 {
			f.Count++
		}
	}
	all := make([]failures, 0, len(byCode))
	for _, f := range byCode {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b failures) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return all
}

// degradedOf groups what instances can't reach.
func degradedOf(instances []af.InstanceInfo) []degraded {
	counts := map[string]int{}
	for i := range instances {
		for _, mode := range instances[i].Degraded {
			counts[mode]++
		}
	}
	var all []degraded
	for mode, n := range counts {
		all = append(all, degraded{mode, n})
	}
	slices.SortFunc(all, func(a, b degraded) int {
		return cmp.Or(cmp.Compare(b.Instances, a.Instances), cmp.Compare(a.Mode, b.Mode))
	})
	return all
}
