package presence

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// The document of queues that have or had a worker: when each was last seen, in seconds since 1970.
const (
	queuesDoc     = "queues"
	maxQueueNames = 1000 // the latest ones
	queueSeenFor  = 24 * time.Hour
)

// ServedQueues returns the queues that have or had a worker, and when one was last seen, to within a day and by its
// machine's clock.
func ServedQueues(ctx context.Context, docs backend.Docs) (map[string]time.Time, error) {
	seen, _, err := servedQueues(ctx, docs)
	served := make(map[string]time.Time, len(seen))
	for queue, seconds := range seen {
		served[queue] = time.Unix(seconds, 0)
	}
	return served, err
}

// servedQueues returns the content and the revision of the document.
func servedQueues(ctx context.Context, docs backend.Docs) (map[string]int64, int64, error) {
	doc, err := docs.Get(ctx, queuesDoc)
	if backend.CodeOf(err) == backend.ErrNotFound {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, backend.AsError(err)
	}
	var seen map[string]int64
	if json.Unmarshal(doc.Value, &seen) != nil {
		return nil, 0, undecoded(queuesDoc)
	}
	return seen, doc.Revision, nil
}

// StoreQueues stores the queues of an App's workers, so that they remain known while no worker runs.
func StoreQueues(ctx context.Context, docs backend.Docs, queues []string) error {
	if len(queues) == 0 {
		return nil
	}
	seen, revision, err := servedQueues(ctx, docs)
	if err != nil {
		return err
	}
	now, changed := time.Now(), false
	for _, queue := range queues {
		if now.Sub(time.Unix(seen[queue], 0)) < queueSeenFor {
			continue
		}
		if seen == nil {
			seen = map[string]int64{}
		}
		seen[queue], changed = now.Unix(), true
	}
	if !changed {
		return nil
	}
	names := slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return int(seen[b] - seen[a]) })
	for _, name := range names[min(len(names), maxQueueNames):] {
		delete(seen, name)
	}
	value, err := json.Marshal(seen)
	if err == nil {
		_, err = docs.PutIf(ctx, queuesDoc, revision, value)
	}
	return err
}
