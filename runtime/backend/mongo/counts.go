package mongo

import (
	"context"
	"slices"
	"sync"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

const (
	countsAtOnce = 8                // commands that count for Queues at the same time
	countedFor   = 10 * time.Second // how long a count beyond MaxTotal is not repeated
	maxCounted   = 1000             // such counts that are remembered
)

// surelyMore is the size of a collection from which its own count, which the server keeps without looking at documents,
// proves that there are more than MaxTotal. It may be off after a crash of the server.
const surelyMore = 2 * backend.MaxTotal

// beyond remembers which counts were greater than MaxTotal. Counting so far takes the server milliseconds, and in large
// systems the next result is nearly always the same.
type beyond struct {
	mu sync.Mutex
	at map[string]int64 // when they were counted, by the server's clock
}

func (b *beyond) has(key string, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[key]
	return ok && fresh(at, now)
}

func (b *beyond) add(key string, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.at) >= maxCounted {
		for k, at := range b.at {
			if !fresh(at, now) {
				delete(b.at, k)
			}
		}
	}
	if b.at == nil {
		b.at = map[string]int64{}
	}
	if len(b.at) < maxCounted {
		b.at[key] = now
	}
}

// fresh reports whether a count may still be used. The clock may be set back.
func fresh(at, now int64) bool { return at <= now && now-at < int64(countedFor) }

// countBounded counts the matching tasks in an index, up to MaxTotal+1. A result of MaxTotal+1 may be 10 s old.
func (s *store) countBounded(ctx context.Context, filter m, index string) (int, error) {
	raw, err := filter.MarshalBSON()
	if err != nil {
		return 0, err
	}
	key := index + " " + string(raw)
	if s.beyond.has(key, s.clock.now()) {
		return backend.MaxTotal + 1, nil
	}
	n, err := s.tasks.countUpTo(ctx, filter, backend.MaxTotal+1, index)
	if err == nil && n > backend.MaxTotal {
		s.beyond.add(key, s.clock.now())
	}
	return n, err
}

// total counts the tasks of a list, up to MaxTotal+1. The server counts a single range of an index two to three times
// as fast as several ranges.
func (s *store) total(ctx context.Context, q backend.TaskQuery) (int, error) {
	filter, index := matching(q, q.Statuses), listIndex(q)
	switch _, timed := filter[createdField(q)]; {
	case q.Source != "" || q.Code != "" || len(q.Statuses) == 1:
		return s.countBounded(ctx, filter, index) // few tasks, or one range
	case len(q.Statuses) == 0 && !timed && q.Queue != "":
		return s.countBounded(ctx, m{"queue": q.Queue}, index)
	case len(q.Statuses) == 0 && !timed:
		if driver.SessionFromContext(ctx) == nil { // transactions have no such count
			n, err := s.tasks.EstimatedDocumentCount(ctx)
			if err != nil || n > surelyMore {
				return int(min(n, backend.MaxTotal+1)), err
			}
		}
		return s.countBounded(ctx, filter, index)
	}
	statuses := allStatuses
	if len(q.Statuses) > 0 {
		statuses = nil
		for _, status := range q.Statuses {
			if name := string(status); !slices.Contains(statuses, name) {
				statuses = append(statuses, name)
			}
		}
	}
	// The statuses that may have many tasks come first. If the first one has enough, the others are not counted.
	rest, n := slices.Clone(statuses), 0
	for _, status := range []backend.Status{backend.StatusWaiting, backend.StatusSuccess} {
		at := slices.Index(rest, string(status))
		if at < 0 {
			continue
		}
		rest = slices.Delete(rest, at, at+1)
		filter["status"] = string(status)
		some, err := s.countBounded(ctx, filter, index)
		if n += some; err != nil || n > backend.MaxTotal {
			return n, err
		}
	}
	if len(rest) == 0 {
		return n, nil
	}
	filter["status"] = m{"$in": rest}
	some, err := s.countBounded(ctx, filter, index)
	return n + some, err
}

// Queues implements backend.Store. It counts live tasks only, each status of a queue in an index.
func (s *store) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	queues, err := s.queues(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(queues)
	counts := make([]backend.QueueCounts, len(queues))
	numbers := make([][]int, len(queues)) // of tasks, by queue and live status
	reads, reading := errgroup.WithContext(ctx)
	reads.SetLimit(countsAtOnce)
	for i, queue := range queues {
		counts[i] = backend.QueueCounts{Queue: queue, Counts: map[backend.Status]backend.Count{}}
		numbers[i] = make([]int, len(liveStatuses))
		for j, status := range liveStatuses {
			reads.Go(func() (err error) {
				numbers[i][j], err = s.countBounded(reading, m{"queue": queue, "status": status}, "list")
				return s.wrapError(reading, err, backend.OutcomeNotSent)
			})
		}
		reads.Go(func() error {
			oldest, err := s.oldest(reading, queue)
			if oldest != 0 {
				counts[i].Oldest = instant.Time(oldest)
			}
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	for i := range counts {
		for j, status := range liveStatuses {
			if total, more := backend.BoundedTotal(numbers[i][j]); total > 0 {
				counts[i].Counts[backend.Status(status)] = backend.Count{N: total, AtLeast: more}
			}
		}
	}
	return counts, nil
}

// oldest returns the earliest due time of the first ready tasks of each weight, or 0 if no task is ready.
func (s *store) oldest(ctx context.Context, queue string) (int64, error) {
	now := s.clock.now()
	first := map[int]*document{}
	take := func(x *document) {
		if have := first[x.Weight]; have == nil || olderFirst(x, have) < 0 {
			first[x.Weight] = x
		}
	}
	overdue, err := s.overdue(ctx, queue, now)
	if err != nil {
		return 0, err
	}
	for _, x := range overdue {
		take(x)
	}
	filter := readyIn(queue, now)
	for {
		found, err := s.find(ctx, filter, options.Find().SetSort(d{desc("weight"), asc("created"), asc("_id")}).
			SetLimit(1).SetHint("waiting").SetProjection(m{"weight": 1, "created": 1, "due": 1}))
		if err != nil {
			return 0, err
		}
		if len(found) == 0 {
			break
		}
		take(found[0])
		filter["weight"] = m{"$lt": found[0].Weight}
	}
	oldest := int64(0)
	for _, x := range first {
		if oldest == 0 || x.Due < oldest {
			oldest = x.Due
		}
	}
	return oldest, nil
}
