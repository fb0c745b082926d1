package limits

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/presence"
)

// checkKnown returns ErrNotFound if the queue is unknown, or the ip if it is not "". l has the limits of the queue. A
// queue is known if it has a task, a job or limits, or has or had a worker. An ip is known if an instance reports it, a
// limit of the queue names it, or a machine had it within the last week.
func (s *Store) checkKnown(ctx context.Context, queue, ip string, l Limits) error {
	known, names, err := s.knownQueue(ctx, queue, l)
	what := fmt.Sprintf("queue %q", queue)
	if err == nil && known && ip != "" {
		known, names, err = s.knownIP(ctx, ip, l)
		what = "ip " + ip
	}
	switch {
	case err != nil:
		return fmt.Errorf("checking whether %s exists, which af.Create() skips: %w", what, err)
	case known:
		return nil
	case len(names) == 0:
		return backend.Errorf(backend.ErrNotFound, "unknown %s; use af.Create() to set its limits anyway", what).
			With(backend.OutcomeNotSent)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if n := len(names) - maxNamed; n > 0 {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	return backend.Errorf(backend.ErrNotFound, "unknown %s, known are %s%s; use af.Create() to set its limits anyway",
		what, strings.Join(names, ", "), more).With(backend.OutcomeNotSent)
}

// maxNamed is the number of known names that an error lists.
const maxNamed = 20

// knownQueue reports whether a queue is known. If it isn't, it returns the known queues, except for those that have
// tasks only.
func (s *Store) knownQueue(ctx context.Context, queue string, l Limits) (bool, []string, error) {
	if slices.Contains(s.Queues(), queue) || l.Revision > 0 {
		return true, nil, nil
	}
	page, err := s.Tasks.List(ctx, backend.TaskQuery{Queue: queue, Limit: 1})
	if err != nil || len(page.Tasks) > 0 {
		return true, nil, err
	}
	limits, err := s.All(ctx)
	if err != nil {
		return false, nil, err
	}
	names := slices.Collect(maps.Keys(limits))
	queues, err := s.Jobs(ctx)
	if err != nil {
		return false, nil, err
	}
	names = append(names, queues...)
	served, err := presence.ServedQueues(ctx, s.Docs)
	if err != nil {
		return false, nil, err
	}
	names = slices.AppendSeq(names, maps.Keys(served))
	if slices.Contains(names, queue) {
		return true, nil, nil
	}
	present, err := s.Present(ctx)
	for _, in := range present {
		for _, w := range in.Workers {
			names = append(names, w.Queue)
		}
	}
	return slices.Contains(names, queue), names, err
}

// knownIP reports whether an ip is known. If it isn't, it returns the known ips.
func (s *Store) knownIP(ctx context.Context, ip string, l Limits) (bool, []string, error) {
	if _, set := l.At[ip]; set || ip == s.IP {
		return true, nil, nil
	}
	names := slices.Collect(maps.Keys(l.At))
	present, err := s.Present(ctx)
	for _, in := range present {
		names = append(names, in.IP)
	}
	if err != nil || slices.Contains(names, ip) {
		return true, nil, err
	}
	machines, err := s.Nodes(ctx)
	for _, n := range machines {
		names = append(names, n.IPs...)
	}
	return slices.Contains(names, ip), names, err
}
