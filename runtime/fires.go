package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/internal/retry"
)

// A fireDoc is the document fires/<id>: the history of a job, latest last. N numbers its fires.
type fireDoc struct {
	N     int64      `json:"n"`
	Fires []fireNote `json:"fires"`
}

type fireNote struct {
	firing
	N    int64  `json:"n"`
	At   int64  `json:"at"`
	Task string `json:"task,omitempty"` // of a run by hand
}

// note adds to the history of a job what isn't there yet.
func (e *engine) note(ctx context.Context, id string, notes ...fireNote) error {
	if len(notes) == 0 {
		return nil
	}
	return retry.Update(ctx, func(ctx context.Context) error {
		h, rev, err := e.history(ctx, id)
		if err != nil {
			return err
		}
		is := map[int64]bool{}
		for _, f := range h.Fires {
			is[f.Due] = f.Task == "" || is[f.Due]
		}
		before := h.N
		for _, f := range notes {
			if f.Task == "" && is[f.Due] {
				continue
			}
			h.N++
			f.N = h.N
			h.Fires = append(h.Fires, f)
		}
		if h.N == before {
			return nil
		}
		h.Fires = h.Fires[max(0, len(h.Fires)-maxFires):]
		value, merr := json.Marshal(h)
		if merr != nil {
			return Errorf(ErrInternal, "the history of job %q does not encode: %w", id, merr)
		}
		_, err = e.ports.Docs.PutIf(ctx, fireDocs+id, rev, value)
		return err
	})
}

// history reads the history of a job; an empty one where there is none.
func (e *engine) history(ctx context.Context, id string) (h fireDoc, rev int64, err error) {
	d, err := e.ports.Docs.Get(ctx, fireDocs+id)
	switch {
	case CodeOf(err) == ErrNotFound:
		return h, 0, nil
	case err != nil:
		return h, 0, err
	}
	h, err = readFireDoc(id, d.Value)
	return h, d.Revision, err
}

// readFireDoc reads the history of a job. Instants that can't be are brought into their range, and fires whose numbers don't
// rise get others, since pages go by these.
func readFireDoc(job string, value []byte) (h fireDoc, err error) {
	if err := json.Unmarshal(value, &h); err != nil {
		return h, Errorf(ErrDataLoss, "the history of job %q: %w", job, err)
	}
	rises := true
	for i := range h.Fires {
		f := &h.Fires[i]
		f.Due, f.At = min(max(f.Due, 0), latestSecond), min(max(f.At, 0), latestSecond)
		rises = rises && f.N >= 0 && f.N < maxFireNumber && (i == 0 || h.Fires[i-1].N < f.N)
	}
	for i := range h.Fires {
		if !rises {
			h.Fires[i].N = int64(i) + 1
		}
	}
	last := int64(0)
	if n := len(h.Fires); n > 0 {
		last = h.Fires[n-1].N
	}
	if h.N < last || h.N >= maxFireNumber {
		h.N = last
	}
	return h, nil
}

const maxFireNumber = 1 << 60

// dropHistory deletes the history of a job that is gone.
func (e *engine) dropHistory(ctx context.Context, id string) {
	d, err := e.ports.Docs.Get(ctx, fireDocs+id)
	if err == nil {
		err = e.ports.Docs.Delete(ctx, d.Name, d.Revision)
	}
	if err != nil && CodeOf(err) != ErrNotFound {
		e.log.Debug("the history of a job that is gone is not deleted", "job", id, "error", err)
	}
}

// histories reads the history of a job, or with "" that of all jobs, by id.
func (e *engine) histories(ctx context.Context, id string) (map[string]fireDoc, error) {
	if id != "" {
		if _, err := e.readJob(ctx, id); err != nil {
			return nil, err
		}
	} else if e.ports.Docs == nil {
		return nil, noDocs(e.ports.Name)
	}
	all := map[string]fireDoc{}
	return all, e.requests.Do(ctx, func(ctx context.Context) error {
		if id != "" {
			h, _, err := e.history(ctx, id)
			all[id] = h
			return err
		}
		docs, err := e.ports.Docs.List(ctx, fireDocs)
		for _, d := range docs {
			job := strings.TrimPrefix(d.Name, fireDocs)
			h, err := readFireDoc(job, d.Value)
			if err != nil {
				return err
			}
			all[job] = h
		}
		return err
	})
}

func (e *engine) listFires(ctx context.Context, q FireQuery) (FirePage, error) {
	switch q.Sort {
	case FiresLatest, FiresOldest:
	default:
		return FirePage{}, Errorf(ErrInvalidArgument, "there is no order %q of fires", q.Sort).With(OutcomeNotSent)
	}
	all, err := e.histories(ctx, q.Job)
	if err != nil {
		return FirePage{}, err
	}
	fires := sortFires(all, q)
	page := FirePage{Total: len(fires)}
	list, cursor, err := pageOf(fires, keyedFire.by, q.Cursor, q.Limit)
	page.Cursor = cursor
	for _, f := range list {
		page.Fires = append(page.Fires, f.Fire)
	}
	return page, err
}

// A keyedFire has the key by which fires are sorted.
type keyedFire struct {
	Fire
	key string
}

func (f keyedFire) by() string { return f.key }

// sortFires returns the fires of some jobs that a query selects, in its order.
func sortFires(all map[string]fireDoc, q FireQuery) []keyedFire {
	var fires []keyedFire
	for job, h := range all {
		for _, n := range h.Fires {
			f := n.public(job)
			if !q.After.IsZero() && f.At.Before(q.After) || !q.Before.IsZero() && !f.At.Before(q.Before) ||
				q.Skipped != nil && *q.Skipped != (f.Skipped != "") {
				continue
			}
			at, number := n.At, n.N
			if q.Sort == FiresLatest {
				at, number = 1<<62-at, 1<<62-number
			}
			fires = append(fires, keyedFire{f, fmt.Sprintf("%020d %020d %s", at, number, job)})
		}
	}
	slices.SortFunc(fires, func(a, b keyedFire) int { return cmp.Compare(a.key, b.key) })
	return fires
}

// public is a fire as users see it.
func (n fireNote) public(job string) Fire {
	f := Fire{Job: job, At: time.Unix(n.At, 0).UTC(), TaskID: n.Task, Skipped: n.Skip, More: n.More}
	if n.Task == "" {
		f.Due = time.Unix(n.Due, 0).UTC()
		if n.Skip == "" {
			f.TaskID = fireID(job, n.Due)
		}
	}
	return f
}
