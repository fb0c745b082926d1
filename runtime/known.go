package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/presence"
)

// A LimitOption changes how [App.PauseQueue] and [App.UpdateMaxWorkers] set limits.
type LimitOption interface{ applyLimit(*limitOptions) }

type limitOptions struct {
	create bool
	action action
}

type limitOption func(*limitOptions)

func (f limitOption) applyLimit(o *limitOptions) { f(o) }

// Create also sets limits for an unknown queue or ip, such as one that will exist after the next deployment. Without
// it, an unknown name is considered a mistake and [ErrNotFound] is returned.
func Create() LimitOption { return limitOption(func(o *limitOptions) { o.create = true }) }

func limitOptionsOf(opts []LimitOption) (o limitOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyLimit(&o)
		}
	}
	return o
}

// checkKnown returns ErrNotFound if the queue is unknown, or the ip if it is not "". l has the limits of the queue. See
// [App.UpdateMaxWorkers] for which are known.
func (c *core) checkKnown(ctx context.Context, queue, ip string, l Limits) error {
	known, names, err := c.knownQueue(ctx, queue, l)
	what := fmt.Sprintf("queue %q", queue)
	if err == nil && known && ip != "" {
		known, names, err = c.knownIP(ctx, ip, l)
		what = "ip " + ip
	}
	switch {
	case err != nil:
		return fmt.Errorf("checking whether %s exists, which af.Create() skips: %w", what, err)
	case known:
		return nil
	case len(names) == 0:
		return Errorf(ErrNotFound, "unknown %s; use af.Create() to set its limits anyway", what).With(OutcomeNotSent)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if n := len(names) - maxNamed; n > 0 {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	return Errorf(ErrNotFound, "unknown %s, known are %s%s; use af.Create() to set its limits anyway", what,
		strings.Join(names, ", "), more).With(OutcomeNotSent)
}

// maxNamed is the number of known names that an error lists.
const maxNamed = 20

// knownQueue reports whether a queue is known. If it isn't, it returns the known queues, except for those that have
// tasks only.
func (c *core) knownQueue(ctx context.Context, queue string, l Limits) (bool, []string, error) {
	if slices.Contains(c.queues(), queue) || l.Revision > 0 {
		return true, nil, nil
	}
	page, err := c.store.List(ctx, backend.TaskQuery{Queue: queue, Limit: 1})
	if err != nil || len(page.Tasks) > 0 {
		return true, nil, err
	}
	limits, err := c.allLimits(ctx)
	if err != nil {
		return false, nil, err
	}
	names := slices.Collect(maps.Keys(limits))
	jobs, err := c.jobs.All(ctx, "")
	if err != nil {
		return false, nil, err
	}
	for _, j := range jobs {
		names = append(names, j.Queue)
	}
	served, err := presence.ServedQueues(ctx, c.ports.Docs)
	if err != nil {
		return false, nil, err
	}
	names = slices.AppendSeq(names, maps.Keys(served))
	if slices.Contains(names, queue) {
		return true, nil, nil
	}
	present, err := c.presentInstances(ctx)
	for _, in := range present {
		for _, w := range in.Workers {
			names = append(names, w.Queue)
		}
	}
	return slices.Contains(names, queue), names, err
}

// knownIP reports whether an ip is known. If it isn't, it returns the known ips.
func (c *core) knownIP(ctx context.Context, ip string, l Limits) (bool, []string, error) {
	if _, set := l.At[ip]; set || ip == c.app.instance.IP && !c.app.settings.observer {
		return true, nil, nil
	}
	names := slices.Collect(maps.Keys(l.At))
	present, err := c.presentInstances(ctx)
	for _, in := range present {
		names = append(names, in.IP)
	}
	if err != nil || slices.Contains(names, ip) {
		return true, nil, err
	}
	machines, err := c.nodes.All(ctx)
	for _, n := range machines {
		names = append(names, n.IPs...)
	}
	return slices.Contains(names, ip), names, err
}

// presentInstances returns the running instances, or none if the backend doesn't support a registry.
func (c *core) presentInstances(ctx context.Context) (map[string]announcement, error) {
	if c.ports.Coordinator == nil {
		return nil, nil
	}
	all, _, err := c.app.present(ctx)
	return all, err
}
